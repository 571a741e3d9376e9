"""What moves from one device to another."""

import logging
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from bnnlab import PluginHost
from bnnlab.engine.preparing import prepare
from bnnlab.families.posterior import BernoulliOptimizer
from bnnlab.interfaces.model import Model
from bnnlab.interfaces.optimizer import Group
from bnnlab.settings.layers import resolve
from bnnlab.storage import checkpoint
from bnnlab.storage.folder import RunFolder
from bnnlab_testing import toy
from bnnlab_testing.device_process import call_with_device


class KeepsAll(toy.ToyOptimizer):
    """Keeps state of every shape."""

    def update(
        self, group: Group, parameters: list[Tensor], values: list[Tensor], grads: list[Tensor]
    ) -> None:
        super().update(group, parameters, values, grads)
        for parameter in parameters:
            self.state[parameter].update(
                step=torch.zeros(()),
                row=parameter.detach().flatten()[:2].clone(),
                seen=torch.arange(3),
                mask=parameter > 0,
                deep={"several": [torch.ones(2), (torch.ones(()), "text", None)]},
            )


def places(value: Any) -> set[torch.device]:
    """Return the devices of all tensors in nested state."""
    if isinstance(value, Tensor):
        return {value.device}
    parts = value.values() if isinstance(value, dict) else value
    nested = isinstance(value, dict | list | tuple)
    return set().union(*(places(part) for part in parts)) if nested else set()


def keeps_all() -> tuple[Model, toy.ToyOptimizer]:
    """Return a model and an optimizer that made a step."""
    model = toy.make_model()
    optimizer = KeepsAll(model, generator=torch.Generator(), lr=0.05)
    toy.train(model, toy.ToyRule(), optimizer, toy.make_task(), steps=1)
    return model, optimizer


class Draws(BernoulliOptimizer):
    """Learns nothing."""

    def sample(self, group: Group, parameter: Tensor) -> tuple[Tensor, Tensor]:
        raise NotImplementedError

    def update(self, *_: Any) -> None:
        raise NotImplementedError


def draws(seed: int = 0) -> tuple[Model, Draws]:
    """Return a model and an optimizer that draws weights."""
    model = toy.make_model()
    return model, Draws(model, generator=torch.Generator().manual_seed(seed), lr=0.05)


def drawn(optimizer: Draws) -> list[Tensor]:
    """Return a draw of all weights."""
    return [optimizer.draw(parameter) for parameter in optimizer.learned()]


def loaded(state: dict[str, Any]) -> Draws:
    """Return an optimizer of another seed that has loaded a state."""
    optimizer = draws()[1]
    optimizer.load_state_dict(deepcopy(state))
    return optimizer


class Moves:
    """What moves to the simulated device, in its process."""

    def follow(self, device: torch.device) -> None:
        model, optimizer = keeps_all()
        model.to(device).zero_grad()  # nothing is learned, so nothing kept anew
        optimizer.step(lambda: torch.zeros((), device=device))
        assert places(dict(optimizer.state)) == {device}

    def load(self, device: torch.device) -> None:
        _, optimizer = keeps_all()
        model, other = keeps_all()
        model.to(device)
        other.load_state_dict(optimizer.state_dict())
        assert places(dict(other.state)) == {device}

    def draw(self, device: torch.device) -> None:
        model, optimizer = draws()
        model.to(device)
        for _ in optimizer.predictive(1):
            assert places(list(model.parameters())) == {device}


def test_state_of_any_shape_follows_a_model_that_is_moved() -> None:
    call_with_device(Moves(), "follow")


def test_state_of_any_shape_is_loaded_to_where_its_parameter_is() -> None:
    call_with_device(Moves(), "load")


def test_a_mask_of_a_weights_shape_is_a_mask_when_it_is_loaded() -> None:
    _, optimizer = keeps_all()
    optimizer.load_state_dict(optimizer.state_dict())
    assert {state["mask"].dtype for state in optimizer.state.values()} == {torch.bool}


def test_weights_are_drawn_where_the_model_was_moved_to() -> None:
    call_with_device(Moves(), "draw")


def test_draws_of_another_device_go_on_from_a_seed_that_follows_from_them(
    caplog: pytest.LogCaptureFixture,
) -> None:
    state = draws()[1].state_dict()
    saved = [
        {**state, "generator": {"device": "cuda:0", "state": torch.arange(16).byte() + each}}
        for each in range(2)
    ]
    one, again, other = (drawn(loaded(each)) for each in (saved[0], saved[0], saved[1]))
    assert all(map(torch.equal, one, again))
    assert not all(map(torch.equal, one, other))
    said = {record.message for record in caplog.records if record.levelno == logging.WARNING}
    assert said == {
        "Draws drew its weights from a generator on cuda:0, and now learns on cpu: its draws are "
        "others from here"
    }


def test_draws_on_the_same_device_go_on_as_they_would(caplog: pytest.LogCaptureFixture) -> None:
    _, optimizer = draws(1)
    other = loaded(optimizer.state_dict())
    assert all(map(torch.equal, drawn(other), drawn(optimizer)))
    assert not caplog.records


def stop(*_: Any) -> None:
    raise KeyboardInterrupt


def test_a_run_that_changes_its_device_says_so_and_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings = {
        "epochs": 1,
        "device": "cpu",
        "out": str(tmp_path),
        "stream": {"name": "permuted-digits", "tasks": 1},
        "model": {"name": "mlp", "hidden": [4]},
        "rule": "bp",
        "optimizer": {"name": "bayesbinn", "test_draws": 1},
    }
    host = PluginHost()
    config = resolve(host, [settings])
    begun = prepare(host, config)
    assert begun.folder
    with pytest.raises(KeyboardInterrupt):
        begun.run(stop)
    state = checkpoint.load(begun.folder.path)
    assert state
    generator = {"device": "cuda:0", "state": torch.zeros(16, dtype=torch.uint8)}
    on_cuda = {"device": "cuda", "computed_on": [{"device": "cuda", "threads": 1}]}
    state = {**state, **on_cuda, "optimizer": {**state["optimizer"], "generator": generator}}
    checkpoint.save(begun.folder.path, state)
    assert prepare(host, config, RunFolder(begun.folder.path)).run().status == "complete"
    assert "was saved on cuda and continues on cpu" in caplog.text
