"""What rules and optimizers owe as they live: alone or beside others, asked and told or not."""

from contextlib import suppress
from typing import Any
from unittest.mock import patch

import torch

from bnnlab.engine.learner import Learner
from bnnlab_testing import toy
from bnnlab_testing.asserting import assert_close, assert_numbers, assert_same, flat
from bnnlab_testing.device_checks import CPU, LearnerChecks
from bnnlab_testing.device_process import call_with_device
from bnnlab_testing.lives import assert_goes_on
from bnnlab_testing.varying import other_values

LATE = ((0, 0, 7), (0, 1, 3))
"""Where a task of two epochs of ten steps is interrupted."""


class LifeChecks(LearnerChecks):
    """The part of the contracts of rules and optimizers that is about what they live through."""

    def test_a_long_task_goes_on_bit_for_bit(self) -> None:
        """A task of twenty steps is stopped at the eighth and the 14th, and goes on.

        What counts to ten steps, or is full after twenty examples, belongs into `state_dict()`,
        too.
        """
        with patch.object(self, "make_model", self.twins):
            assert_goes_on(self._lives([CPU], tasks=1), LATE, batch_size=4, epochs=2)

    def test_two_in_one_process_do_not_meet(self) -> None:
        """It learns the same if others are made, with other options, and learn meanwhile.

        A process may hold many runs. Keep settings and what changes in `self`, not in the class or
        the module.
        """
        ends = [self._lived(among_others=each) for each in (False, True)]
        assert_same("where others learn beside it, it learns something else:", *ends)

    def test_another_process_gives_the_same(self) -> None:
        """With one seed it learns the same, to rounding, also where texts have other hashes.

        In each process a set of texts has an order of its own. Sort it, or keep a dict.
        """
        self.threads, self.learned = torch.get_num_threads(), self.exercise()
        call_with_device(self, "learns_the_same")

    def learns_the_same(self, _device: torch.device) -> None:
        """Check that it learns what it has learned in the process of the test."""
        torch.set_num_threads(self.threads)
        assert_close(self.exercise(), self.learned, "in another process it learns something else")

    def test_nothing_is_learned_from_the_test_part(self) -> None:
        """What is told at a task's start and end has a test part that nobody reads.

        The training part has the same images and labels beside its own rows: no matter which. Use
        `task.train.rows`, or `task.train.batches`.
        """
        ends = []
        for others in (False, True):
            learner = self.learner(CPU)
            for index in range(2):
                task = toy.make_task(index)
                if others:
                    task.test.pixels[task.test.rows] ^= 255
                    task.test.labels[task.test.rows] = 0
                toy.learn(learner, task, steps=2, end=True)
            ends.append(_state_of(learner))
        message = "with other test data beside `task.train.rows`, it learns something else:"
        assert_same(message, *ends)

    def test_its_diagnostics_are_numbers_by_name(self) -> None:
        """A dict of Python numbers, whose names the core does not use in the same line."""
        learner = self.learner(CPU)
        toy.learn(learner, steps=2, end=True)
        assert_numbers(getattr(learner, self.kind).diagnostics())

    def test_its_diagnostics_change_nothing(self) -> None:
        """Whether they are asked for or not, it learns the same from there, bit for bit.

        State that only counts until it is asked for may change.
        """
        ends = []
        for asked in (False, True):
            learner, task = self.learner(CPU), toy.make_task()
            model, optimizer = learner.model, learner.optimizer
            toy.learn(learner, task, steps=3)
            if asked:
                getattr(learner, self.kind).diagnostics()
            toy.learn(learner, task, steps=2, done=3)
            learned = [(p.grad, optimizer.latent(p)) for p in model.parameters()]
            ends.append(flat([model.state_dict(), learned]))
        assert_same("where diagnostics() is asked for, it learns something else:", *ends)

    def _lived(self, *, among_others: bool) -> dict[str, Any]:
        """Return what it has become after two tasks of two steps, alone or among others."""
        learner = self.learner(CPU)
        toy.learn(learner, steps=1)
        if among_others:
            self._let_others_learn()
        toy.learn(learner, steps=1, done=1, end=True)
        toy.learn(learner, toy.make_task(1), steps=2, end=True)
        return _state_of(learner)

    def _let_others_learn(self) -> None:
        """Let another one learn a task of a step, and one with another value of each option."""
        toy.learn(self.learner(CPU, seed=1), toy.make_task(1), steps=1, end=True)
        for option in self.component.options:
            values = other_values(option, self.choice.options[option.name])
            for value in [] if option.part else values:
                with suppress(Exception):  # not with the other options
                    with patch.object(self, "choice", self.with_options(**{option.name: value})):
                        toy.learn(self.learner(CPU), toy.make_task(1), steps=1, end=True)
                    break


def _state_of(learner: Learner) -> dict[str, Any]:
    return flat({name: it for name, it in learner.state_dict().items() if name != "progress"})
