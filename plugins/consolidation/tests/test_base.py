"""What is consolidated is its base: steps, options, schedules, what it saves, and memory."""

import pytest
import torch
from consolidating import (
    KINDS,
    based,
    context,
    make,
    make_base,
    make_closure,
    train,
)
from torch import Tensor

from bnnlab import Model, Optimizer
from bnnlab_consolidation.ewc import EWC
from bnnlab_consolidation.si import SI
from bnnlab_testing.equations import make_model


def assert_same(model: Model, other: Model) -> None:
    ours, theirs = model.state_dict(), other.state_dict()
    for name, value in ours.items():
        assert torch.equal(value, theirs[name]), name


BASES = ("sgd", "meta")


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("kind", KINDS)
def test_before_the_first_tasks_end_it_is_its_base_bit_for_bit(kind: str, base: str) -> None:
    model, other = make_model(), make_model()
    optimizer = make(KINDS[kind], model, base=base, strength=1000.0)
    train(model, optimizer, 10)
    train(other, make_base(other, base), 10)
    assert_same(model, other)


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("kind", KINDS)
def test_with_strength_0_it_is_its_base_bit_for_bit(kind: str, base: str) -> None:
    model, other, held = make_model(), make_model(), make_model()
    optimizer = make(KINDS[kind], model, base=base, strength=0.0)
    train(model, optimizer, 12, ends=(3, 7))
    train(other, make_base(other, base), 12)
    assert_same(model, other)
    train(held, make(KINDS[kind], held, base=base, strength=100.0), 12, ends=(3, 7))
    assert any(
        not torch.equal(one, two)
        for one, two in zip(held.parameters(), other.parameters(), strict=True)
    ), "the penalty does nothing"


GIVEN = {"beta1": 0.5, "latent_clip": None, "latent_init": 0.5, "gradient_clip": 2}
AS_TEXT = ["beta1=0.5", "latent_clip='none'", " latent_init = 0.5", "gradient_clip=2"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("as_text", [False, True])
def test_options_reach_the_base(
    kind: str, as_text: bool, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bnnlab.deprecation._said", set())
    model, name = make_model(), "bnnlab-backprop/adam"
    told = {"base": name, "base_options": AS_TEXT} if as_text else {"base": based(name, **GIVEN)}
    optimizer = make(KINDS[kind], model, lr=0.02, **told)
    warned = "bnnlab-consolidation 0.4 removes it: set optimizer.base.beta1=0.5, optimizer.base.la"
    assert (warned in caplog.text) == as_text
    group = optimizer.base.param_groups[0]
    assert (group["lr"], group["betas"]) == (0.02, (0.5, 0.999))
    assert (optimizer.base.latent_clip, optimizer.base.gradient_clip) == (None, 2.0)
    latents = [optimizer.theta(p).abs().max() for p in model.binary_parameters().values()]
    assert 0.3 < max(latents) <= 0.5


def test_a_list_reaches_the_base() -> None:
    model = make_model()
    optimizer = make(EWC, model, base=based("meta", m=[3.0, 2.0, 1]))
    weights = model.binary_parameters().values()
    assert [optimizer.base.state[weight]["m"] for weight in weights] == [3.0, 2.0, 1.0]


@pytest.mark.parametrize("kind", KINDS)
def test_gradient_clipping_of_the_base_covers_the_penalty(kind: str) -> None:
    model = make_model()
    base = based("sgd", gradient_clip=0.001, momentum=0.0)
    optimizer = make(KINDS[kind], model, lr=1.0, base=base, strength=1e6)
    train(model, optimizer, 5, ends=(2,))
    before = [optimizer.theta(p).clone() for p in model.parameters()]
    optimizer.step(make_closure(model, 7))
    moved = [optimizer.theta(p) - old for p, old in zip(model.parameters(), before, strict=True)]
    assert torch.cat([each.flatten() for each in moved]).norm() <= 0.00101


@pytest.mark.parametrize("kind", KINDS)
def test_a_step_calls_the_closure_once_and_returns_the_loss_alone(kind: str) -> None:
    model = make_model()
    optimizer = make(KINDS[kind], model, strength=100.0)
    train(model, optimizer, 4, ends=(1,))
    losses = []
    closure = make_closure(model, 9)

    def counting() -> Tensor:
        losses.append(closure())
        return losses[-1]

    assert optimizer.step(counting) is losses[0]
    assert len(losses) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_a_gradient_that_the_caller_keeps_is_not_changed(kind: str) -> None:
    model = make_model()
    optimizer = make(KINDS[kind], model, strength=100.0)
    train(model, optimizer, 4, ends=(1,))
    kept = {p: torch.ones_like(p) for p in model.parameters()}

    def closure() -> Tensor:
        for p, grad in kept.items():
            p.grad = grad
        return torch.zeros(())

    optimizer.step(closure)
    assert all(bool((grad == 1).all()) for grad in kept.values())


@pytest.mark.parametrize("kind", KINDS)
def test_schedulers_act_on_the_base(kind: str) -> None:
    model = make_model()
    optimizer = make(KINDS[kind], model, lr=0.1)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=1, gamma=0.5)
    train(model, optimizer, 1)
    scheduler.step()
    assert [group["lr"] for group in optimizer.base.param_groups] == [0.05, 0.05]
    other = make(KINDS[kind], make_model(), lr=0.3)
    other.load_state_dict(optimizer.state_dict())
    assert [group["lr"] for group in other.base.param_groups] == [0.05, 0.05]
    assert other.base.state is other.state


@pytest.mark.parametrize("kind", KINDS)
def test_the_base_hears_of_tasks_and_says_its_diagnostics(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = make_model()
    optimizer = make(KINDS[kind], model, base=based("meta", m="auto"))
    told = context(model)
    optimizer.task_started(told)
    assert all(optimizer.base.state[w]["m"] != "auto" for w in model.binary_parameters().values())
    heard = []
    monkeypatch.setattr(optimizer.base, "task_ended", heard.append)
    monkeypatch.setattr(optimizer.base, "diagnostics", lambda: {"shown": 1.5})
    optimizer.task_ended(told)
    assert heard == [told]
    assert optimizer.diagnostics() == {"shown": 1.5}


def test_what_only_the_base_saves_is_restored() -> None:
    """A base with a generator of its own goes on with it, not with the wrapper's."""
    model, again = make_model(), make_model()
    optimizer, resumed = make(EWC, model), make(EWC, again)
    optimizer.base._generator = torch.Generator().manual_seed(11)
    resumed.base._generator = torch.Generator().manual_seed(12)
    torch.rand(5, generator=optimizer.base._generator)
    resumed.load_state_dict(optimizer.state_dict())
    pairs = ((optimizer, resumed), (optimizer.base, resumed.base))
    for one, two in pairs:
        assert torch.equal(one._generator.get_state(), two._generator.get_state())
    assert not torch.equal(resumed._generator.get_state(), resumed.base._generator.get_state())


def state_bytes(optimizer: Optimizer, parameter: Tensor) -> float:
    values = [v for v in optimizer.state[parameter].values() if isinstance(v, Tensor)]
    total = sum(v.numel() * v.element_size() for v in values if v.shape == parameter.shape)
    return total / parameter.numel()


@pytest.mark.parametrize("variant", ["offline", "online", "si"])
def test_memory_does_not_grow_with_tasks(variant: str) -> None:
    model = make_model()
    kind, own = (SI, {}) if variant == "si" else (EWC, {"variant": variant})
    optimizer = make(kind, model, strength=0.1, **own)  # by default numbers grow without bound here
    train(model, optimizer, 2, ends=(0,))
    once = {p: state_bytes(optimizer, p) for p in model.parameters()}
    train(model, optimizer, 10, ends=(1, 3, 5, 7))
    assert once == {p: state_bytes(optimizer, p) for p in model.parameters()}


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize(("kind", "own"), [("ewc", 8), ("si", 12)])
def test_it_needs_8_or_12_bytes_beside_the_base(kind: str, own: int, base: str) -> None:
    model, alone = make_model(), make_model()
    optimizer, plain = make(KINDS[kind], model, base=base), make_base(alone, base)
    train(model, optimizer, 2, ends=(1,))
    train(alone, plain, 2)
    for p, other in zip(model.parameters(), alone.parameters(), strict=True):
        assert state_bytes(optimizer, p) == state_bytes(plain, other) + own
    assert optimizer.base.state is optimizer.state, "nothing is kept anywhere else"
