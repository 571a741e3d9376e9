"""What a stream owes: tasks whose test data is never learned from, and an honest protocol."""

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from typing import Any, Literal, cast, get_origin

import pytest
import torch

from bnnlab.engine import building
from bnnlab.engine.learner import Learner
from bnnlab.errors import BnnlabError
from bnnlab.interfaces.examples import Examples
from bnnlab.interfaces.keeping import keeping
from bnnlab.interfaces.stream import Task, TaskStream
from bnnlab.registry.components import Option
from bnnlab.settings.run import Choice
from bnnlab_testing import toy
from bnnlab_testing.asserting import assert_close, refused
from bnnlab_testing.division_checks import DivisionChecks
from bnnlab_testing.effect_checks import BESIDE, EffectChecks
from bnnlab_testing.example_checks import (
    contents,
    draws,
    named_parts,
    outputs_for,
    parts_of,
)
from bnnlab_testing.leak_checks import LeakChecks
from bnnlab_testing.likeness_checks import LikenessChecks
from bnnlab_testing.lives import assert_goes_on
from bnnlab_testing.reading_checks import ReadingChecks
from bnnlab_testing.varying import other_values

_Described = tuple[list[list[int]], dict[str, Any]]
"""What is in the tasks of a stream, and its protocol."""

LITTLE_MORE = 1.05
"""A number times this is another one, which a protocol does not round away."""


class StreamContract(ReadingChecks, LeakChecks, LikenessChecks, DivisionChecks, EffectChecks):
    """Checks a stream, with data that is here; choose small data by `options`."""

    def looks(self, choice: Choice) -> Iterator[Any]:
        """Yield what the stream says of its tasks, and what is in them."""
        stream = self.make(0, choice)
        about = stream.input_shape, stream.tokens, stream.classes, stream.class_names
        yield [*about, stream.gives_task_ids, [task.name for task in stream]]
        yield _data(stream)

    def test_a_run_accepts_its_tasks(self) -> None:
        """Tasks and out-of-distribution inputs pass the checks that a run makes before it trains.

        The checks are of the number of tasks, shapes, dtypes, labels, task masks, the protocol, and
        of test data that are copies of training data.
        """
        stream = self.make()
        tasks = building.make_tasks(self.choice, stream)
        building.make_unknown(self.choice, stream, tasks)

    def test_tasks_have_names_and_end(self) -> None:
        """Each task has a name, and there is none after the last."""
        stream = self.make()
        assert all(task.name for task in stream), "a task has no name"
        with refused(IndexError, "", f"a task {len(stream)} is given, past the last"):
            stream[len(stream)]

    def test_data_that_are_kept_are_those_that_are_loaded(self) -> None:
        """Where runs share what `bnnlab.kept` keeps, each has the data that it has alone."""
        seeds = (0, 1, 0)
        alone = [_data(self.make(seed)) for seed in seeds]
        with keeping():
            shared = [_data(self.make(seed)) for seed in seeds]
        assert shared == alone, "it writes to data that bnnlab.kept shares among runs"

    def test_the_loss_is_the_mean_of_the_batch(self) -> None:
        """Every example twice has the same loss, a finite scalar that autograd goes through."""
        stream = self.make()
        for task in stream:
            targets = task.train.raw(torch.arange(min(5, len(task.train))))[1]
            size = outputs_for(stream, task, targets)
            logits = torch.randn(size, generator=draws(0)).requires_grad_()
            once = task.loss(logits, targets)
            twice = task.loss(torch.cat([logits, logits]), torch.cat([targets, targets]))
            assert once.shape == (), f"the loss of task {task.index} has shape {tuple(once.shape)}"
            assert bool(once.isfinite()), f"the loss of task {task.index} is not finite"
            assert once.requires_grad, f"the loss of task {task.index} holds no graph"
            message = f"the loss of task {task.index} is no mean: every example twice changes it"
            assert_close([once], [twice], message)

    def test_nothing_is_learned_from_the_test_part(self) -> None:
        """A task has its loss and its mask where the test part raises."""
        stream, hidden = self.make(), cast(Examples, toy.Unread())
        for task in stream:
            targets = task.train.raw(torch.arange(min(5, len(task.train))))[1]
            unread = replace(task, test=hidden)
            outputs = torch.zeros(outputs_for(stream, task, targets))
            unread.loss(unread.mask(outputs), targets)

    def test_a_run_on_validation_accepts_its_tasks(self) -> None:
        """Where one task has a validation part, all have, and they pass the checks of a run."""
        stream = self.make()
        if all(task.validation is None for task in stream):
            pytest.skip("it has no validation part")
        building.make_tasks(self.choice, stream, "validation")

    def test_an_option_that_changes_the_data_changes_the_protocol(self) -> None:
        """Figures on other data must never share a protocol.

        Put into `protocol()` whatever changes inputs, labels, order or division, also what does so
        beside another value of one more option alone, as the size of a noise where there is one.
        """
        every = self.component.options
        idle = [option for option in every if not self._changes_data(option, {})]
        varied = [option for option in every if option.name not in self.without_effect]
        idle = [option for option in idle if option in varied]
        for other in varied if idle else ():
            for value in other_values(other, self.choice.options[other.name])[:BESIDE]:
                beside = {other.name: value}
                idle = [option for option in idle if not self._changes_data(option, beside)]

    def _changes_data(self, option: Option, beside: dict[str, Any]) -> bool:
        """Return whether other values of an option change the data, and the protocol with them."""
        usual, changes = self._described_with(beside), False
        others = other_values(option, self.choice.options[option.name])
        for value in others if option.name not in beside else ():
            its = {option.name: value, **beside}
            found = self._described_with(its)
            if not _differ(usual, found, its):
                continue
            changes = True
            if isinstance(value, float):
                little = {**its, option.name: LITTLE_MORE * value}
                _differ(found, self._described_with(little), little)
            if get_origin(option.type) is not Literal:
                break
        return changes

    def _described_with(self, options: dict[str, Any]) -> _Described | None:
        """Return data and protocol with some options set otherwise; None if that cannot be."""
        key = repr(sorted(options.items()))  # many are looked at more than once
        if key not in (known := vars(self).setdefault("_known", {})):
            known[key] = _described(self, options)
        return cast("_Described | None", known[key])

    def test_an_interrupted_run_goes_on_bit_for_bit(self) -> None:
        """The trainer is stopped within tasks and between; a stream that is made anew goes on."""

        def make(_: int) -> tuple[Learner, list[Task]]:
            stream = self.make()
            _, *output = outputs_for(stream, stream[0], stream[0].train.labels)
            shape, tokens = stream.input_shape, stream.tokens or 0
            model = toy.make_linear_model(shape, stream.classes, tuple(output), tokens)
            learner = Learner(model, toy.ToyRule(), toy.make_optimizer(model))
            return learner, [_shortened(task) for task in islice(stream, 2)]

        assert_goes_on(make, task_ids=self.make().gives_task_ids)

    def test_the_protocol_does_not_hold_the_seed(self) -> None:
        """It is equal for two seeds: runs that differ in the seed are repetitions."""
        one, other = (json.dumps(self.make(seed).protocol(), sort_keys=True) for seed in (0, 1))
        assert one == other, "the protocol differs with the seed"

    def test_the_protocol_names_the_data_by_a_digest(self) -> None:
        """It holds eight hexadecimal digits at least: other data have another protocol."""
        said = json.dumps(self.make().protocol())
        assert re.search(r'"[0-9a-f]{8,}"', said), f"there is no digest of the data in {said}"

    def test_what_its_data_need_is_declared(self) -> None:
        """It requires 'any-loss' and 'token-inputs' exactly where targets or inputs need them.

        Then `bnn check` says it before any data are loaded.
        """
        stream = self.make()
        needed = {
            "any-loss": not stream[0].objective.is_of_classes,
            "token-inputs": stream.tokens is not None,
        }
        for capability, is_needed in needed.items():
            said = f"it {'needs' if is_needed else 'does not need'} {capability!r}"
            assert self.needs(capability) == is_needed, f"{said}: see `requires`"
        declared, has = self.provides("token-ids"), stream.tokens is not None
        said = "are token ids: let it provide" if has else "are no token ids, and it provides"
        assert declared == has, f"its inputs {said} 'token-ids'"

    def test_task_ids_are_given_exactly_where_declared(self) -> None:
        """`gives_task_ids` says what the capability 'task-ids' says."""
        assert self.make().gives_task_ids == self.provides("task-ids")


def _differ(usual: _Described | None, other: _Described | None, options: dict[str, Any]) -> bool:
    """Return whether some options make other data than usual, and check their protocols."""
    if usual is None or other is None or other[0] == usual[0]:
        return False
    said = ", ".join(f"{name}={value!r}" for name, value in options.items())
    assert other[1] != usual[1], f"{said} changes the data, but not the protocol"
    return True


def _described(contract: StreamContract, options: dict[str, Any]) -> _Described | None:
    try:
        stream = contract.make(0, contract.with_options(**options))
        return _data(stream), stream.protocol()
    except BnnlabError:  # not with the other options, or not with the data that is here
        return None


def _shortened(task: Task) -> Task:
    train, test = (replace(part, rows=part.rows[:40]) for part in (task.train, task.test))
    return replace(task, train=train, test=test, validation=None)


def _data(stream: TaskStream) -> list[list[int]]:
    """Return what the first task holds, and what every part, the unknown too, begins with."""
    found = [contents(part) for _, part in named_parts(stream[0])]
    for task, _, part in parts_of(stream):
        found.append(_beginning(part, draws(0) if part is task.train else None))
        found += [] if task.classes is None else [task.classes.tolist()]
    unknown = stream.out_of_distribution()
    return found if unknown is None else [*found, _beginning(unknown)]


def _beginning(part: Examples, draws: torch.Generator | None = None) -> list[int]:
    """Return a hash of the first 100 inputs as they are shown, and all labels."""
    inputs, _ = part.batch(torch.arange(min(100, len(part))), draws)
    every = (inputs, part.labels[part.rows])
    return [hash(each.contiguous().cpu().numpy().tobytes()) for each in every]
