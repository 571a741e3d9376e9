"""What a model owes: segments that map inputs to logits, and binary weights that are binary."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from bnnlab import seeds
from bnnlab.conversion.selfcheck import self_check
from bnnlab.engine import building
from bnnlab.engine.learner import Learner
from bnnlab.errors import UsageError
from bnnlab.interfaces.model import Model
from bnnlab.interfaces.stream import Task
from bnnlab_testing import toy
from bnnlab_testing.asserting import assert_close, assert_same, flat
from bnnlab_testing.draw_checks import DrawChecks
from bnnlab_testing.layer_checks import LayerChecks
from bnnlab_testing.lives import assert_goes_on
from bnnlab_testing.model_checks import SILENT, is_silent
from bnnlab_testing.output_checks import OutputChecks
from bnnlab_testing.pass_checks import PassChecks


class ModelContract(LayerChecks, PassChecks, OutputChecks, DrawChecks):
    """Checks a model; the attributes are those of `ModelChecks`."""

    def test_logits_have_a_row_per_example_and_a_column_per_class(self) -> None:
        """Inputs (B, ...) become float32 logits (B, K), for one too, and nothing changes.

        With another objective, outputs have the shape that it asks for.
        """
        model = self.make().eval()
        before = flat(model.state_dict())
        for count in (1, 16):
            logits, target = model(self.inputs(count)), tuple(self.targets(count).shape[1:])
            assert logits.shape == (count, *self.objective.output_shape(target, self.classes))
            assert logits.dtype == torch.float32
            assert bool(logits.isfinite().all()), "the logits are not finite"
        assert_same("an evaluation changes", before, flat(model.state_dict()))

    def test_it_fits_other_inputs_and_classes(self) -> None:
        """Made for inputs of twice the size and two classes more, it maps these, or is refused.

        So it does for three token ids more. Take `input_shape`, `classes` and `tokens` from the
        constructor, and raise a UsageError where a size cannot be.
        """
        first, *sizes = self.input_shape
        shape = (first, *(2 * size for size in sizes)) if sizes else (2 * first,)
        classes, tokens = self.classes + 2, None if self.tokens is None else self.tokens + 3
        model = self._made_for(shape, classes, tokens)
        x = self.inputs(1).new_full((1, *shape), (tokens or 1) - 1)  # the last id, or 0
        try:
            found = tuple(model.eval()(x).shape)
        except IndexError as error:
            raise AssertionError(f"made for {tokens} token ids, it has fewer: {error}") from error
        assert found[-1:] == (classes,), f"{classes} classes have logits {found}"
        assert len(found) == self.make().eval()(self.inputs(1)).ndim, f"the logits are {found}"

    @torch.no_grad()
    def test_every_channel_of_an_image_is_read(self) -> None:
        """With other numbers in one of several channels of the images, some logit is another.

        If its images have one channel, it is made for three, or is refused. A part that is written
        for one channel may take the first alone: read all of `input_shape`. A model that has the
        same logits for most inputs before it learns is not checked.
        """
        if self.tokens is not None or len(self.input_shape) != 3:
            pytest.skip("its inputs are no images")
        channels, *size = self.input_shape
        shape = (channels if channels > 1 else 3, *size)
        model, draws = self._made_for(shape, self.classes, None), seeds.generator(0, "channels")
        x, others = 3 * torch.randn(2, 16, *shape, generator=draws)
        model.train()(x)  # batch statistics
        logits, unread = model.eval()(x), list[int]()
        if is_silent(model, x, others):
            pytest.skip(SILENT)
        for channel in range(len(x[0])):
            changed = x.clone()
            changed[:, channel] = others[:, channel]
            if torch.equal(model(changed), logits):
                unread.append(channel)
        assert not unread, f"of inputs {shape} it does not read channel {unread}, counted from 0"

    def test_its_segments_compose_to_it(self) -> None:
        """Running the segments one after the other is running the model, one tensor passed on.

        So it is with gradients, without, and under `torch.inference_mode`.
        """
        model = self.make()
        for training in (True, False):
            model.train(training)
            x = self.others()
            for number, segment in enumerate(model.segments, start=1):
                before = x.clone()
                y = segment(x)
                assert isinstance(y, torch.Tensor), f"segment {number} returns {type(y).__name__}"
                assert torch.equal(x, before), f"segment {number} changes its input in place"
                x = y
        assert_close([x], [model(self.others())], "the segments one by one are not the model")
        if self.provides("segments"):
            assert len(model.segments) > 1, "'segments' is declared, but it has only one"
        self_check(model, list(model.segments), self.inputs(2))

    def test_it_knows_the_shape_of_an_input(self) -> None:
        """Rules that size something by the activations ask for it, and for the token ids."""
        model = self.make()
        assert (model.input_shape, model.tokens) == (self.input_shape, self.tokens)

    def test_a_task_keeps_what_was_measured_in_it(self) -> None:
        """With an option that needs 'task-ids', another task's batches change no logit."""
        choices = [
            self.with_options(**{option.name: value})
            for option in self.component.options
            for value, needed in option.requires.items()
            if "task-ids" in needed
        ]
        if not choices:
            pytest.skip("no option requires 'task-ids'")
        for choice in choices:
            try:
                model = self.make(0, choice)
            except UsageError:
                continue  # with the contract's other options there is no such model
            x = self.inputs()
            before = _measure(model, 0, x).eval()(x)
            _measure(model, 1, self.others()).select_task(0)
            assert_close([model.eval()(x)], [before], "task 1 changes task 0's logits")

    def test_an_interrupted_run_goes_on_bit_for_bit(self) -> None:
        """The trainer is stopped within tasks and between; a model of another seed goes on."""

        def make(restarts: int) -> tuple[Learner, list[Task]]:
            model = self.make(restarts)
            learner = Learner(model, toy.ToyRule(), toy.make_optimizer(model))
            learner.progress.untrained = [None]  # not evaluated before it learns: that takes time
            mean, std = (0.0, 1.0) if self.tokens is None else (None, None)
            task = toy.task_of(self.inputs(), self.targets(), mean=mean, std=std)
            return learner, [replace(task, index=i, objective=self.objective) for i in range(2)]

        assert_goes_on(make, ((0, 0, 1), (1, 0, 0)), epochs=1, batch_size=4)

    @pytest.mark.rounding
    def test_at_test_an_example_is_judged_by_itself(self) -> None:
        """In evaluation mode the rest of the batch, large or not, does not change the logits."""
        _assert_judged_alone(self.make().eval(), self.inputs())

    def _made_for(self, shape: tuple[int, ...], classes: int, tokens: int | None) -> Model:
        """Return a model for these inputs and classes, unless it is refused."""
        try:
            return building.make_model(
                self.host, self.choice, input_shape=shape, classes=classes, tokens=tokens, seed=0
            )
        except UsageError as refusal:
            pytest.skip(f"it is refused: {refusal}")


def _assert_judged_alone(model: Model, x: Tensor) -> None:
    """Check the first of some inputs, beside the others and beside larger ones."""
    is_real = x.is_floating_point()
    try:
        for others in (x[1:], 1000 * x[1:] if is_real else x[1:]):
            found = model(torch.cat([x[:1], others]))[:1]
            assert_close([found], [model(x[:1])], "test batches are looked at")
    except AssertionError as error:  # unless rounding decides a sign: float64 rounds otherwise
        if any(parameter.dtype == torch.float64 for parameter in model.parameters()):
            raise
        try:
            _assert_judged_alone(model.double(), x.double() if is_real else x)
        except RuntimeError:  # it cannot be float64
            raise error from None


@torch.no_grad()
def _measure(model: Model, task: int, x: Tensor) -> Model:
    """Pass inputs of a task three times in training mode."""
    model.train().select_task(task)
    for _ in range(3):
        model(x)
    return model
