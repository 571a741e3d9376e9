"""What a model owes as it is run: logits come of inputs and weights, and nothing else changes."""

import copy
import gc
import pickle
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any
from weakref import WeakSet

import torch
from torch import Tensor

from bnnlab.errors import BnnlabError, explain
from bnnlab.interfaces.model import Model
from bnnlab.settings.run import Choice
from bnnlab_testing.asserting import assert_close, assert_same, flat
from bnnlab_testing.effect_checks import EffectChecks
from bnnlab_testing.keeping_checks import kept_by
from bnnlab_testing.weight_checks import WeightChecks


class PassChecks(WeightChecks, EffectChecks):
    """The part of `ModelContract` that is about running a model, and copying it."""

    def looks(self, choice: Choice) -> Iterator[Any]:
        """Yield the initial state, and after steps in each of two tasks state and logits."""
        model = self.make(0, choice)
        yield flat(model.state_dict())
        for task in range(2):
            model.select_task(task)
            step = self._step(model)
            for _ in range(3):
                step()
            model.eval().select_task(0)
            yield flat([model.state_dict(), model(self.others())])

    def test_an_evaluation_repeated_gives_the_same(self) -> None:
        """In evaluation mode the same inputs have the same logits again, and nothing is drawn.

        Draw if `self.training` alone, from a generator of the model's own that its state holds; so
        an accuracy says something of the weights, and a resumed run has the same.
        """
        model, x = self.make().eval(), self.inputs()
        with self._unguarded() as keeper:
            first, second = model(x), model(x)
        assert_close([first], [second], "two evaluations of the same inputs differ")
        assert not keeper.changed, f"an evaluation changes {', '.join(keeper.changed)}"

    def test_a_pass_changes_no_weight_and_no_mode(self) -> None:
        """Run in either mode, it leaves parameters, `requires_grad` and the modes as they are.

        Weights are the optimizer's to change: compute what a pass needs of them anew, or keep it in
        a buffer.
        """
        model = self.make()
        for training in (True, False):
            before = _settings(model.train(training))
            model(self.inputs())
            assert_same("a forward pass changes", before, _settings(model))

    def test_it_keeps_nothing_of_a_batch(self) -> None:
        """After a pass it holds no input, no activation and no graph: these grow with the batch.

        A graph holds all that the pass computed, and a copy of the model fails. Return what is
        needed later, or keep a detached mean of it in a buffer.
        """
        model, sizes = self.make().train(), list[dict[str, int]]()
        for count in (8, 24):
            is_freed = _run(model, self.inputs(count))
            assert is_freed, "the graph of a pass is kept: keep .detach() of what is needed, if any"
            sizes.append({place: each.numel() for place, each in kept_by(model).items()})
        grown = [place for place, size in sizes[1].items() if sizes[0].get(place) != size]
        assert not grown, f"it keeps more of a larger batch, at {', '.join(grown[:5])}"

    def test_a_task_that_is_selected_again_is_as_before(self) -> None:
        """After another task was selected, the first one has its logits again.

        An evaluation selects one task after another. Let `select_task` choose among what is there,
        and make anything new for a task that was not selected before alone.
        """
        model, x = self.make().eval(), self.inputs()
        model.select_task(0)
        before = model(x)
        with suppress(BnnlabError, LookupError):  # it may be for one task
            model.select_task(1)
            model(x)
        model.select_task(0)
        assert_close([model(x)], [before], "selected again, task 0 has other logits")

    def test_all_that_learns_is_a_parameter(self) -> None:
        """Whatever gradients reach in a pass is one of the model's parameters, or it never learns.

        Make a weight an `nn.Parameter`, and a list of layers an `nn.ModuleList`: the optimizer, the
        checkpoint and `.to(device)` know no others.
        """
        model = self.make().train()
        own = {id(parameter) for parameter in model.parameters()}
        others = [leaf for leaf in _leaves(model(self.inputs())) if id(leaf) not in own]
        shapes = ", ".join(str(tuple(leaf.shape)) for leaf in others)
        assert not others, f"gradients reach what is no parameter of the model, of shape {shapes}"

    def test_copies_are_models_of_their_own(self) -> None:
        """Copied by deepcopy or pickle, it computes the same, with weights of its own.

        Rules and probes copy a model. Let parts call each other as modules: a lambda, or a function
        that is defined within another, cannot be pickled, and a copy's still calls the original.
        """
        x = self.inputs()
        ways: dict[str, Callable[[Model], Model]] = {"deepcopy": copy.deepcopy, "pickle": _pickled}
        for way, duplicate in ways.items():
            model = self.make().eval()
            before = model(x).detach()
            try:
                other = duplicate(model)
            except Exception as error:
                raise AssertionError(f"{way} cannot copy it: {explain(error)}") from error
            _fill(model)
            assert_close([other(x)], [before], f"the original's weights decide a {way}'s logits")
            _fill(other)
            assert_close([other(x)], [model(x)], f"with equal weights, a {way} has other logits")


def _settings(model: Model) -> dict[str, Any]:
    """Return the parameters, whether each is learned, and the modes, by name."""
    named = dict(model.named_parameters())
    learned = {name: each.requires_grad for name, each in named.items()}
    modes = {name or "model": part.training for name, part in model.named_modules()}
    return flat({"parameter": named, "requires_grad": learned, "training": modes})


def _run(model: Model, x: Tensor) -> bool:
    """Run a model, and return whether all that autograd saved is freed with the logits."""

    class Saved:
        def __init__(self, tensor: Tensor) -> None:
            self.tensor = tensor.detach()  # with its graph it would hold itself
            saved.add(self)

    saved: WeakSet[Saved] = WeakSet()
    with torch.autograd.graph.saved_tensors_hooks(Saved, lambda each: each.tensor):
        model(x)
    if saved:
        gc.collect()  # a cycle of references is freed late, and is no fault
    return not saved


def _leaves(y: Tensor) -> list[Tensor]:
    """Return the tensors whose gradients a backward pass from here would accumulate."""
    found, seen, todo = list[Tensor](), set[Any](), [y.grad_fn]
    while todo:
        node: Any = todo.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if type(node).__name__ == "AccumulateGrad":
            found.append(node.variable)
        todo += [inner for inner, _ in node.next_functions]
    return found


def _pickled(model: Model) -> Model:
    found: Model = pickle.loads(pickle.dumps(model))
    return found


@torch.no_grad()
def _fill(model: Model) -> None:
    """Set every parameter to 1."""
    for parameter in model.parameters():
        parameter.fill_(1)
