"""What an optimizer owes from one task to the next: nothing is lost, and nothing left behind."""

import io

import torch

from bnnlab.model import Model
from bnnlab.testing import toy
from bnnlab.testing.optimizer_checks import OptimizerChecks, assert_signs, differing, flat

RECORD = {
    *("event", "task", "epoch", "step", "seconds"),
    *("loss", "train_accuracy", "validation_accuracy"),
}
"""What the core itself writes into an epoch's line of metrics, beside the diagnostics."""


class TaskChecks(OptimizerChecks):
    """The part of `OptimizerContract` that is about several tasks, and saving within them."""

    def test_its_state_survives_saving(self) -> None:
        """Saved within a second task, and loaded with another seed, it goes on bit for bit."""
        self._save_and_go_on(2)

    def test_its_state_survives_saving_between_tasks(self) -> None:
        """Saved after a task's end, and loaded with another seed, it goes on bit for bit."""
        self._save_and_go_on(0)

    def _save_and_go_on(self, done: int) -> None:
        """Save after a task and `done` steps of the next; then end that, and begin a third."""
        rule, (first, second, third) = toy.ToyRule(), map(toy.make_task, range(3))
        model, copy = self.make_model(), self.make_model()
        optimizer, other = self.make(0, model), self.make(1, copy)
        toy.train(model, rule, optimizer, first, steps=3, end=True)
        if done:
            toy.train(model, rule, optimizer, second, steps=done)
        copy.load_state_dict(model.state_dict())
        saved = io.BytesIO()
        torch.save(optimizer.state_dict(), saved)  # as in a run's checkpoint
        other.load_state_dict(torch.load(io.BytesIO(saved.getvalue()), weights_only=True))
        for each, its in ((model, optimizer), (copy, other)):
            toy.train(each, rule, its, second, steps=3, done=done, end=True)
            toy.train(each, rule, its, third, steps=2)
        for (name, one), two in zip(model.named_parameters(), copy.parameters(), strict=True):
            assert torch.equal(one, two), f"{name} goes another way after loading the state"
        places = differing(flat(optimizer.state_dict()), flat(other.state_dict()))
        assert not places, f"after loading, state_dict() goes another way at {', '.join(places)}"

    def test_a_tasks_end_leaves_the_model_fit_to_go_on(self) -> None:
        """Binary weights are signs, and training modes and requires_grad as before."""
        model = self.make_model()
        optimizer, before = self.make(0, model), _switches(model)
        for index in range(2):
            toy.train(model, toy.ToyRule(), optimizer, toy.make_task(index), steps=2, end=True)
            assert_signs(model)
            places = differing(before, _switches(model))
            assert not places, f"task_ended() does not put back {', '.join(places)}"

    def test_its_diagnostics_are_numbers_with_names_of_their_own(self) -> None:
        """A dict of Python numbers, whose names the core does not use in the same line."""
        _, optimizer, _ = self.used()
        found = optimizer.diagnostics()
        assert isinstance(found, dict), f"diagnostics() returns {found!r}, which is no dict"
        for name, value in found.items():
            assert isinstance(name, str), f"diagnostics(): the name {name!r} is no str"
            assert name not in RECORD, f"diagnostics(): the core writes {name!r} itself"
            number = isinstance(value, int | float) and not isinstance(value, bool)
            assert number, f"diagnostics(): {name} is {value!r}, not a Python number"


def _switches(model: Model) -> dict[str, bool]:
    """Return what a task's end must not leave changed, by name."""
    modes = {f"{name or 'model'}.training": each.training for name, each in model.named_modules()}
    grads = {f"{name}.requires_grad": p.requires_grad for name, p in model.named_parameters()}
    return {**modes, **grads}
