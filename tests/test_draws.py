"""Gradients at several weight draws: in one pass they are those of one draw after another."""

import subprocess
import sys
from collections.abc import Mapping
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bnnlab import BatchNorm, BinaryConv2d, BinaryLinear, ClassPerPosition, Model, Sign
from bnnlab.families import draws
from bnnlab.interfaces.batch import TaskLoss
from bnnlab.interfaces.rule import Batch, Closure, Draws, LearningRule, evaluate_draws
from bnnlab.interfaces.signs import random_signs
from bnnlab.nn.layers import Linear
from bnnlab_testing.toy import ToyRule

S, B = 4, 6


class OnePass(ToyRule):
    """Counts how often one pass did it."""

    passes = 0

    def differentiate_draws(
        self, model: Model, batch: Batch, drawn: Mapping[str, Tensor]
    ) -> Draws | None:
        found = draws.backpropagate(model, batch, drawn)
        self.passes += found is not None
        return found


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def linear_model() -> Model:
    return Model(
        [
            nn.Sequential(
                nn.Flatten(),
                BinaryLinear(9, 8, bias=True, scale="learned", generator=generator()),
                nn.LayerNorm(8),
                Sign("polynomial"),
            ),
            nn.Sequential(Linear(8, 7), nn.ReLU()),
            BinaryLinear(7, 3, generator=generator(1)),
        ]
    )


def convolutional_model(norm: nn.Module | None = None) -> Model:
    parts = [BinaryConv2d(1, 4, 2, bias=True, generator=generator()), norm, nn.Hardtanh()]
    return Model(
        [
            nn.Sequential(*[part for part in parts if part is not None]),
            nn.Sequential(nn.Flatten(), BinaryLinear(16, 3, generator=generator(1))),
        ]
    )


def drawn_for(model: Model) -> dict[Tensor, Tensor]:
    g = generator(2)
    matrices = [p for p in model.parameters() if p.ndim > 1]
    return {p: torch.randn(S, *p.shape, generator=g) for p in matrices}


def evaluate(model: Model, rule: LearningRule) -> dict[str, Any]:
    x, y = torch.randn(B, 1, 3, 3, generator=generator(3)), torch.arange(B) % 3
    closure = rule.closure(model, (x, y))
    loss, grads = closure.at(drawn_for(model))
    names = {p: name for name, p in model.named_parameters()}
    real = {name: p.grad for p, name in names.items() if p not in grads}
    found = {names[p]: each for p, each in grads.items()}
    return {"loss": loss, "logits": closure.logits, **found, **real}


@pytest.fixture(autouse=True)
def _seeded() -> Any:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


MODELS = {"linear": linear_model, "convolutional": convolutional_model}


@pytest.mark.parametrize("mapped", [False, True])
@pytest.mark.parametrize("kind", MODELS)
def test_one_pass_equals_one_draw_after_another(
    kind: str, mapped: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if mapped:
        monkeypatch.setattr(draws, "_takes_draws", lambda *_: False)
    model, rule = MODELS[kind](), OnePass()
    together, loop = evaluate(model, rule), evaluate(model, ToyRule())
    assert rule.passes == 1
    assert together.keys() == loop.keys()
    for name, wanted in loop.items():
        torch.testing.assert_close(together[name], wanted, rtol=1e-5, atol=1e-6, msg=name)


def test_linear_layers_take_the_draws_as_a_leading_dimension() -> None:
    model = linear_model()
    names = {name: p for name, p in model.named_parameters() if p.ndim > 1}
    images = torch.zeros(B, 1, 3, 3)
    assert draws._takes_draws(model, images, names)
    convolution = {"segments.0.0.weight": torch.zeros(2)}
    assert not draws._takes_draws(convolutional_model(), images, convolution)
    norm = {"segments.0.2.weight": torch.zeros(2, 8)}
    assert not draws._takes_draws(linear_model(), images, norm)


@pytest.mark.parametrize("norm", [BatchNorm(4, "running"), nn.BatchNorm2d(4)])
def test_batch_statistics_are_taken_one_draw_after_another(norm: nn.Module) -> None:
    model, rule = convolutional_model(norm), OnePass()
    evaluate(model, rule)
    assert rule.passes == 0


class Peeking(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * (1.0 if float(x.detach().sum()) > 0 else 2.0)  # vmap cannot look at a number


def test_what_cannot_be_mapped_is_done_one_draw_after_another() -> None:
    model, rule = convolutional_model(Peeking()), OnePass()
    found, wanted = evaluate(model, rule), evaluate(model, ToyRule())
    assert rule.passes == 0
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)


def test_the_model_is_left_as_it_was() -> None:
    model = linear_model()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    for rule in (OnePass(), ToyRule()):
        evaluate(model, rule)
        for name, p in model.named_parameters():
            assert torch.equal(p, before[name]), name


def test_the_gradients_are_those_at_the_drawn_weights() -> None:
    model = Model([nn.Sequential(nn.Flatten(), BinaryLinear(9, 3, generator=generator()))])
    (weight,) = model.parameters()
    drawn = drawn_for(model)[weight]
    found = evaluate(model, OnePass())
    x, y = torch.randn(B, 1, 3, 3, generator=generator(3)), torch.arange(B) % 3
    for s in range(S):
        w = drawn[s].clone().requires_grad_()
        F.cross_entropy(x.flatten(1) @ w.T / 3, y).backward()
        torch.testing.assert_close(found["segments.0.1.weight"][s], w.grad)
    p = torch.stack([(x.flatten(1) @ w.T / 3).softmax(-1) for w in drawn]).mean(0)
    torch.testing.assert_close(found["logits"].softmax(-1), p)


def test_a_single_draw_takes_the_rules_own_way() -> None:
    model, rule = linear_model(), OnePass()
    one = {p: each[:1] for p, each in drawn_for(model).items()}
    x = torch.randn(B, 1, 3, 3, generator=generator(3))
    closure = rule.closure(model, (x, torch.arange(B) % 3))
    assert isinstance(closure, Closure)
    closure.at(one)
    assert rule.passes == 0


FRESH = """
import sys, torch
from torch import nn
from bnnlab import BinaryConv2d, BinaryLinear, Model
from bnnlab.families import draws
from bnnlab.interfaces.rule import Batch

network = BinaryConv2d(1, 4, 2), nn.Hardtanh(), nn.Flatten(), BinaryLinear(16, 3)
model = Model([nn.Sequential(*network)])
drawn = {name: torch.randn(4, *p.shape) for name, p in model.named_parameters()}
batch = Batch(torch.randn(6, 1, 3, 3), torch.arange(6) % 3)
assert draws.backpropagate(model, batch, drawn) is not None
print(*sorted({"torch._dynamo", "torch._inductor", "sympy"} & sys.modules.keys()))
"""


@pytest.mark.slow  # a process that imports torch
def test_draws_that_are_mapped_do_not_load_torchs_compiler() -> None:
    done = subprocess.run([sys.executable, "-c", FRESH], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_a_loss_per_position_is_found_in_one_pass_also_for_as_many_draws_as_examples() -> None:
    """A linear layer would take the batch of sequences for draws of one batch."""
    layers = [BinaryLinear(9, 8, generator=generator()), Sign(), BinaryLinear(8, 3)]
    model, rule = Model([nn.Sequential(*layers[:2]), layers[2]]), OnePass()
    inputs = torch.randn(S, 5, 9, generator=generator(2))
    targets = torch.randint(0, 3, (S, 5), generator=generator(3))
    batch = Batch(inputs, targets, TaskLoss(ClassPerPosition()))
    drawn: dict[Tensor, Tensor] = {
        p: random_signs((S, *p.shape), generator(4)) for p in model.parameters()
    }
    closure = rule.closure(model, batch)
    at_once, grads = closure.at(drawn)
    assert rule.passes == 1
    assert closure.logits is not None
    assert closure.logits.shape == (S, 5, 3)
    mean, others = evaluate_draws(rule.closure(model, batch), drawn, model.parameters())
    torch.testing.assert_close(at_once, mean)
    for parameter, grad in grads.items():
        torch.testing.assert_close(grad, others[parameter])


def test_at_each_draw_are_the_gradients_and_the_outputs_of_all_draws() -> None:
    model, rule = linear_model(), OnePass()
    drawn: dict[Tensor, Tensor] = {
        p: random_signs((S, *p.shape), generator(4)) for p in model.binary_parameters().values()
    }
    before = {p: p.detach().clone() for p in drawn}
    batch = Batch(torch.randn(B, 1, 3, 3, generator=generator(2)), torch.arange(B) % 3)
    whole, each = rule.closure(model, batch), rule.closure(model, batch)
    loss, grads = whole.at(drawn)
    others = {
        p: p.grad.clone() for p in model.parameters() if p not in drawn and p.grad is not None
    }
    losses = []
    for number, (its, found) in enumerate(
        each.at_each({p: w[s] for p, w in drawn.items()} for s in range(S))
    ):
        losses.append(its)
        for p, grad in grads.items():
            torch.testing.assert_close(found[p], grad[number])
            assert torch.equal(p, before[p])
    assert rule.passes == 1
    torch.testing.assert_close(torch.stack(losses).mean(), loss)
    torch.testing.assert_close(each.logits, whole.logits)
    assert others
    for p, grad in others.items():
        torch.testing.assert_close(p.grad, grad)
