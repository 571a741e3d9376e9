"""Any torch module is cut where a single value is passed on."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models import get_model

from bnnlab import Model, UsageError, binarize, cut
from bnnlab.interfaces.model import segment_shapes


def seeded(make: type[nn.Module]) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return make()


def inputs(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(1))


def run(segments: list[nn.Module], x: Tensor) -> Tensor:
    for segment in segments:
        x = segment(x)
    return x


def weights_of(segments: list[nn.Module]) -> list[list[tuple[int, ...]]]:
    return [[tuple(p.shape) for p in each.parameters() if p.ndim > 1] for each in segments]


class Branching(nn.Module):
    """A stem, a residual block, two parallel branches and a functional head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.relu = nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(inplace=True)
        self.inner = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.ReLU(inplace=True),
                                   nn.Conv2d(4, 4, 3, padding=1, groups=4))  # fmt: skip
        self.left, self.right = nn.Conv2d(4, 2, 1), nn.Conv2d(4, 3, 1)
        self.head = nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.stem(x))
        x = self.relu(x + self.inner(x))
        x = F.adaptive_avg_pool2d(torch.cat([self.left(x), self.right(x)], 1), 1)
        y: Tensor = self.head(self.relu(x.flatten(1)))
        return y


def test_blocks_stay_whole_and_the_rest_is_one_weight_layer_with_what_follows() -> None:
    module = seeded(Branching)
    expected = module(inputs(2, 1, 6, 6))
    segments = cut(module)
    assert weights_of(segments) == [
        [(4, 1, 3, 3)],
        [(4, 4, 3, 3), (4, 1, 3, 3)],
        [(2, 4, 1, 1), (3, 4, 1, 1)],
        [(3, 5)],
    ]
    assert torch.equal(run(segments, inputs(2, 1, 6, 6)), expected)
    assert segments[2](segments[1](segments[0](inputs(2, 1, 6, 6)))).shape == (2, 5)


def test_parameters_are_the_modules_own_and_gradients_are_the_same() -> None:
    module, twin = seeded(Branching), seeded(Branching)
    segments = cut(module)
    mine = {id(p) for segment in segments for p in segment.parameters()}
    assert mine == {id(p) for p in module.parameters()}
    run(segments, inputs(2, 1, 6, 6)).square().sum().backward()
    twin(inputs(2, 1, 6, 6)).square().sum().backward()
    for one, other in zip(module.parameters(), twin.parameters(), strict=True):
        assert one.grad is not None
        assert other.grad is not None
        torch.testing.assert_close(one.grad, other.grad)


def test_modules_work_out_of_place_afterwards() -> None:
    x = inputs(2, 4, 6, 6)
    segments = cut(nn.Sequential(nn.ReLU(inplace=True), nn.Conv2d(4, 4, 1), nn.Hardswish(True),
                                 nn.Conv2d(4, 4, 1)))  # fmt: skip
    before = x.clone()
    run(segments, x)
    assert torch.equal(x, before)


class Moody(nn.Module):
    """Asks whether it is training, as functional dropout makes modules do."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.layer(x)
        return -y if self.training else y


def test_training_mode_still_matters() -> None:
    module = nn.Sequential(nn.Linear(4, 4), Moody(), nn.Dropout(0.5), nn.Linear(4, 2))
    segments = nn.ModuleList(cut(module))
    assert len(segments) == 3
    segments.eval()
    calm = segments[1](inputs(2, 4))
    segments.train()
    assert torch.equal(segments[1][0](inputs(2, 4)), -calm)  # type: ignore[index]
    with torch.random.fork_rng():
        assert not torch.equal(segments[1](inputs(2, 4)), -calm)


class Undecided(nn.Module):
    """Its control flow depends on values, which nothing can record."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.layer(x)
        return y if y.sum() > 0 else 2 * y


def test_a_block_that_cannot_be_recorded_is_kept_whole() -> None:
    segments = cut(nn.Sequential(nn.Linear(4, 4), Undecided(), nn.Linear(4, 2)))
    assert [[type(part) for part in each] for each in segments] == [  # type: ignore[attr-defined]
        [nn.Linear],
        [Undecided],
        [nn.Linear],
    ]
    for sign in (-1, 1):
        assert run(segments, sign * inputs(2, 4)).shape == (2, 2)


@pytest.mark.parametrize("make", [Undecided, nn.ReLU, Moody])
def test_a_module_without_a_place_to_cut_is_its_own_segment(make: type[nn.Module]) -> None:
    module = make()
    assert cut(module) == [module]


class Attention(nn.Module):
    """Tokens from a projection and a class token; attention and its weights come as a tuple."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.token = nn.Linear(6, 8), nn.Parameter(torch.randn(1, 1, 8))
        self.norm, self.attend = nn.LayerNorm(8), nn.MultiheadAttention(8, 2, batch_first=True)
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1)
        normed = self.norm(x)
        attended, _ = self.attend(normed, normed, normed, need_weights=False)
        y: Tensor = self.head((x + attended)[:, 0])
        return y


def test_attention_stays_whole_and_tokens_keep_their_gradient() -> None:
    module = seeded(Attention)
    x = inputs(5, 7, 6)
    expected = module(x)
    segments = cut(module)
    assert weights_of(segments) == [
        [(1, 1, 8), (8, 6)], [(24, 8), (8, 8)], [(3, 8)],
    ]  # fmt: skip
    torch.testing.assert_close(run(segments, x[:2]), expected[:2])
    run(segments, x).sum().backward()
    assert all(p.grad is not None for p in module.parameters())


def test_a_tuple_is_not_passed_from_segment_to_segment() -> None:
    class Halves(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.left = nn.Linear(4, 4), nn.Linear(2, 2)

        def forward(self, x: Tensor) -> Tensor:
            one, two = self.first(x).chunk(2, dim=1)
            return torch.cat([self.left(one), two], 1)

    segments = cut(Halves())
    assert all(isinstance(x, Tensor) for x in [segments[0](inputs(3, 4))])
    assert run(segments, inputs(3, 4)).shape == (3, 4)


@pytest.mark.parametrize(
    ("name", "expected"),
    # The stem, the blocks and the head; a fire module has two places.
    [
        ("resnet18", 10),
        ("squeezenet1_1", 18),
        ("mobilenet_v3_small", 28),
        ("shufflenet_v2_x0_5", 19),
    ],
)
def test_torchvisions_models_compose_to_themselves(name: str, expected: int) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = get_model(name, weights=None, num_classes=4).eval()
    x = inputs(2, 3, 64, 64)
    logits = module(x)
    segments = cut(module)
    assert len(segments) == expected
    assert torch.equal(run(segments, x), logits)


def test_a_model_of_them_can_be_saved_and_copied() -> None:
    model, other = (binarize(seeded(Branching), input_shape=(1, 6, 6)) for _ in range(2))
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.neg_()
    other.load_state_dict(model.state_dict())
    x = inputs(2, 1, 6, 6)
    assert torch.equal(model(x), other(x))


class Dropping(nn.Module):
    """Asks whether it is training where nothing can record it: in a function, at the root."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(4, 4), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.last(F.dropout(self.first(x), 0.5, training=self.training))
        return y


class Noisy(Dropping):
    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.last(self.first(x) + torch.randn(4))
        return y


class Skipping(Dropping):
    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.last(self.first(x) if torch.rand(1).item() < 0.5 else x)
        return y


class Remembering(Dropping):
    def forward(self, x: Tensor) -> Tensor:
        self.hidden = self.first(x)
        y: Tensor = self.last(self.hidden)
        return y


class Marking(Dropping):
    def forward(self, x: Tensor) -> Tensor:
        self.first.calls = getattr(self.first, "calls", 0) + 1
        y: Tensor = self.last(self.first(x))
        return y


class Counting(Dropping):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        y: Tensor = self.last(self.first(x) / self.calls)
        return y


class Collecting(Dropping):
    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Tensor] = []
        self.latest: dict[str, Tensor | None] = {"x": None}

    def forward(self, x: Tensor) -> Tensor:
        self.seen.append(x)
        self.latest["x"] = x
        y: Tensor = self.last(self.first(x))
        return y


IMPURE = (Dropping, Noisy, Skipping, Remembering, Marking, Counting, Collecting)


@pytest.mark.parametrize("make", IMPURE)
def test_what_a_recording_would_not_say_is_kept_whole(make: type[nn.Module]) -> None:
    module = make()
    module.first.eval()
    with torch.random.fork_rng():
        assert cut(module) == cut(module, (4,)) == [module]
    assert [part.training for part in module.modules()] == [True, False, True]
    for one, other in zip(module.modules(), make().modules(), strict=True):
        assert vars(one).keys() == vars(other).keys(), "something of the recording is left"
    assert all(torch.equal(buffer, torch.zeros(())) for buffer in module.buffers())
    assert vars(module).get("seen", []) == []
    assert vars(module).get("latest", {"x": None}) == {"x": None}


@pytest.mark.parametrize("make", IMPURE[1:])
def test_a_block_of_that_kind_is_kept_whole_and_the_rest_is_cut(make: type[nn.Module]) -> None:
    block = make()
    segments = cut(nn.Sequential(nn.Linear(4, 4), nn.Sequential(nn.Linear(4, 4), block)))
    assert len(segments) == 3
    assert [*segments[2].children()] == [block]
    assert vars(block).keys() == vars(make()).keys()


def test_a_tuple_between_segments_is_refused_by_name() -> None:
    class Two(nn.Module):
        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            return x, x

    with pytest.raises(UsageError, match=r"segment 2 of the model, Two, makes tuple"):
        segment_shapes(Model([nn.Linear(4, 4), Two(), nn.Linear(4, 2)]), (4,))


def test_a_segment_that_cannot_take_what_it_is_given_is_named() -> None:
    model = Model([nn.Linear(4, 4), nn.Linear(5, 2)])
    with pytest.raises(UsageError, match=r"segment 2 of the model, Linear, cannot take \(B, 4\)"):
        segment_shapes(model, (4,))
    with pytest.raises(UsageError, match=r"segment 1 .*cannot take \(B, 3\)"):
        segment_shapes(model, (3,))
    assert segment_shapes(Model([nn.Linear(4, 5), model.segments[1]]), (4,)) == [(5,), (2,)]


class Masked(Dropping):
    def forward(self, x: Tensor, mask: Tensor | None = None, *more: Tensor, by: int = 2) -> Tensor:
        x = self.first(x)
        y: Tensor = self.last(x if mask is None else x * mask) * by
        return y


def test_other_arguments_have_their_defaults() -> None:
    module, x = seeded(Masked), inputs(3, 4)
    segments = cut(module)
    assert len(segments) == 2
    assert torch.equal(run(segments, x), module(x))


class Reading(nn.Module):
    """Reads its weights before a cut, and uses them after it."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.c = nn.Linear(8, 16), nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        weight, y = self.a.weight, self.a(x)
        return self.c(y.relu()) + F.linear(y, weight.t()).sum() * 0.01


class Computing(Reading):
    """What is computed from weights before a cut is used after it."""

    def forward(self, x: Tensor) -> Tensor:
        both, y = self.a.weight.t() @ self.c.weight.t(), self.a(x)
        z: Tensor = self.c(y.relu())
        return z + both.sum(0)


class Twice(Reading):
    """Ends with operations whose results nobody wants."""

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.c(self.a(x).relu())
        y.sum()
        return y


class Nested(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner, self.last = Reading(), nn.Linear(4, 8)

    def forward(self, x: Tensor) -> Tensor:
        weight = self.inner.c.weight
        y = self.last(self.inner(x))
        return F.linear(F.linear(y, self.inner.a.weight), weight)


class Deciding(Reading):
    """Cannot be recorded after it has read a weight."""

    def forward(self, x: Tensor) -> Tensor:
        y = F.linear(x, self.a.weight)
        return y * 2 if y.sum() > 0 else y


class Around(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner, self.last = Deciding(), nn.Linear(16, 8)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(self.last(self.inner(x).relu()), self.inner.a.weight)


class Fixed(Reading):
    """Learns behind a part that is run without gradients."""

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            x = self.a(x)
        y: Tensor = self.c(x)
        return y


class Rough(Reading):
    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            y: Tensor = self.c(self.a(x))
        return y.float()


@pytest.mark.parametrize("make", [Fixed, Rough])
def test_a_block_that_switches_gradients_or_autocast_is_kept_whole(make: type[nn.Module]) -> None:
    module = nn.Sequential(nn.Linear(8, 8), make(), nn.Linear(4, 2))
    segments = cut(module, (8,))
    assert len(segments) == 3
    x = inputs(2, 8)
    assert torch.equal(run(segments, x), module(x))
    run(segments, x).sum().backward()
    learned = [name for name, p in module.named_parameters() if p.grad is not None]
    assert ("1.a.weight" in learned) == (make is Rough)


class Asking(Reading):
    def forward(self, x: Tensor) -> Tensor:
        if not isinstance(x, Tensor):
            x = 2 * x
        y: Tensor = self.c(self.a(x))
        return y if torch.is_tensor(y) else -y


@pytest.mark.parametrize("make", [Reading, Computing, Twice, Nested, Around, Asking])
def test_a_weight_that_is_read_before_a_cut_can_be_used_after_it(make: type[nn.Module]) -> None:
    module = seeded(make)
    x = inputs(2, 8)
    assert torch.equal(run(cut(module, (8,)), x), module(x))
    assert torch.equal(run(cut(module), x), module(x))


def test_a_weight_that_a_block_reads_before_it_cannot_be_recorded_is_known_to_be_read() -> None:
    model = binarize(seeded(Around), "all")
    assert "inner.a" not in {part.name for part in model.conversion.binary}  # type: ignore[union-attr]


class Swapping(nn.Module):
    """Runs a layer with twice its weight: through torch, or by hand."""

    def __init__(self, by_hand: bool) -> None:
        super().__init__()
        self.inner, self.last, self.by_hand = nn.Linear(4, 4), nn.Linear(4, 2), by_hand

    def forward(self, x: Tensor) -> Tensor:
        weight = self.inner.weight
        if self.by_hand:
            self.inner._parameters["weight"] = nn.Parameter(weight * 2)
            x = self.inner(x)
            self.inner._parameters["weight"] = weight
        else:
            x = torch.func.functional_call(self.inner, {"weight": weight * 2}, (x,))
        y: Tensor = self.last(x)
        return y


@pytest.mark.parametrize("by_hand", [False, True])
def test_a_module_that_runs_a_part_with_other_parameters_is_kept_whole_and_as_it_was(
    by_hand: bool,
) -> None:
    module, x = Swapping(by_hand), torch.randn(3, 4)
    before, weight = module(x), module.inner.weight
    assert cut(module) == [module]
    assert module.inner.weight is weight
    assert torch.equal(module(x), before)


class Heads(nn.Module):
    """An output layer for each task, as docs/plugins/model.md shows it."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers, self.task = nn.ModuleList(layers), 0

    def select_task(self, task: int) -> None:
        self.task = task

    def forward(self, x: Tensor) -> Tensor:
        layer = self.layers[self.task]
        y: Tensor = layer(x)
        return y


def test_a_part_that_works_by_the_task_is_kept_whole_and_chooses_still() -> None:
    heads = Heads(nn.Linear(8, 3), nn.Linear(8, 3))
    net, x = nn.Sequential(nn.Linear(4, 8), nn.Sequential(nn.ReLU(), heads)), inputs(5, 4)
    model = Model(cut(net, (4,)), (4,))
    assert weights_of([*model.segments]) == [[(8, 4)], [(3, 8), (3, 8)]]
    for task in (1, 0):
        model.select_task(task)
        assert torch.equal(model(x), heads.layers[task](net[0](x).relu()))
    assert cut(heads) == [heads]
    inner = Model([nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3)])
    assert len(cut(inner)) == 2, "the method of a Model only passes the task on"


def test_binarised_heads_stay_and_the_ones_that_were_not_tried_stay_real() -> None:
    heads = Heads(nn.Linear(8, 3), nn.Linear(8, 3))
    model = binarize(nn.Sequential(nn.Linear(4, 8), nn.ReLU(), heads), "all", input_shape=(4,))
    assert [part.name for part in model.conversion.real] == ["2.layers.1"]  # type: ignore[union-attr]
    x, outputs = inputs(5, 4), []
    for task in (0, 1):
        model.select_task(task)
        outputs.append(model(x))
    assert not torch.equal(*outputs)
