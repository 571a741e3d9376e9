"""Make components from choices: the one place that knows what the core passes to each kind.

Every `make_...` raises UsageError, which names the component, if it or what it gives is faulty.
"""

import inspect
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import platformdirs
import torch

from bnnlab import seeds
from bnnlab.engine.checking import check_tasks, check_unknown
from bnnlab.engine.fitting import TOKEN_INPUTS, expect_for_model
from bnnlab.engine.held_out import held_out
from bnnlab.engine.making import make, named
from bnnlab.errors import UsageError, first_line
from bnnlab.guards.module_state import undisturbed
from bnnlab.interfaces.batch_checks import expect_learnable, expect_one_path
from bnnlab.interfaces.examples import Examples
from bnnlab.interfaces.keeping import forget_unused
from bnnlab.interfaces.model import Model, segment_shapes
from bnnlab.interfaces.optimizer import Optimizer
from bnnlab.interfaces.probe import Probe
from bnnlab.interfaces.rule import LearningRule
from bnnlab.interfaces.signs import sign
from bnnlab.interfaces.stream import Task, TaskStream
from bnnlab.registry.components import Kind
from bnnlab.registry.host import PluginHost
from bnnlab.settings.run import KERNELS, Choice, EvaluateOn, RunConfig
from bnnlab.storage.checkpoint import digest


def data_folder(data: str | None) -> Path:
    """Return the data folder: what was said, else BNNLAB_DATA, else the platform's cache."""
    said = data or os.environ.get("BNNLAB_DATA")
    return expand(said) if said else platformdirs.user_cache_path("bnnlab") / "data"


def expand(path: str) -> Path:
    """Return a path with `~` or `~name` at its beginning replaced by the home folder."""
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise UsageError(f"{path}: {error}") from error


def find_device(name: str) -> torch.device:
    """Return the device called `auto`, `cpu`, `cuda`, `cuda:1` or `mps`.

    Raises:
        UsageError: If this machine has no device of that name.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name.partition(":")[0] not in ("cpu", "cuda", "mps"):
        raise UsageError(f"device {name!r}: choose 'auto', 'cpu', 'cuda', 'cuda:1' or 'mps'.")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UsageError(f"device {name!r} cannot be used here: {first_line(error)}") from error
    return device


def make_stream(
    host: PluginHost, choice: Choice, *, data: Path, device: torch.device, seed: int
) -> TaskStream:
    """Make a stream; `data` is the data folder, `seed` the root seed."""
    forget_unused()
    seed = seeds.child_seed(seed, "stream")
    stream: TaskStream = make(host, choice, data=data, device=device, seed=seed)
    return stream


def make_tasks(choice: Choice, stream: TaskStream, evaluate_on: EvaluateOn = "test") -> list[Task]:
    """Return all tasks of a stream, checked by `check_tasks`.

    To evaluate on validation, each task's validation part is its test part, too. Then nothing reads
    the stream's test parts, the checks included.
    """
    with named(choice, "when its tasks were made"):
        tasks = list(stream)
        if evaluate_on == "validation":
            tasks = [held_out(choice, task) for task in tasks]
        check_tasks(stream, tasks)
        if same := [task.name for task in tasks if task.scored_on != evaluate_on]:
            raise ValueError(f"the validation part of {same[0]!r} is its test part")
    return tasks


def make_unknown(choice: Choice, stream: TaskStream, tasks: Sequence[Task]) -> Examples | None:
    """Return a stream's out-of-distribution inputs; None if it has none or tells the task."""
    if stream.gives_task_ids:
        return None
    with named(choice, "when its out_of_distribution() was made"):
        unknown = stream.out_of_distribution()
        if unknown is not None:
            check_unknown(stream, tasks, unknown)
    return unknown


def make_model(
    host: PluginHost,
    choice: Choice,
    *,
    input_shape: tuple[int, ...],
    classes: int,
    seed: int,
    tokens: int | None = None,
) -> Model:
    """Make a model with freshly drawn weights, on the CPU; it is told of `tokens` if there are."""
    given: dict[str, Any] = {"input_shape": tuple(input_shape), "classes": classes}
    provides, _ = choice.capabilities()
    if tokens is not None:
        if TOKEN_INPUTS not in provides:
            raise UsageError(
                f"{choice} takes numbers, and inputs are token ids: take a model that provides "
                f"{TOKEN_INPUTS!r}"
            )
        given["tokens"] = tokens
    elif TOKEN_INPUTS in provides and _needs_tokens(host.load(choice.plugin, choice.component)):
        raise UsageError(f"{choice} takes token ids, and must be told how many there are, `tokens`")
    generator = seeds.generator(seed, "initialisation")
    model: Model = make(host, choice, **given, generator=generator)
    binary = model.binary_parameters()
    with named(choice, "with its initial_latents"):
        for name, latent in model.initial_latents.items():
            if name not in binary:
                raise ValueError(f"{name!r} is not the name of a binary parameter")
            weight = binary[name]
            if latent.shape != weight.shape:
                shapes = f"{tuple(latent.shape)}, and its weight {tuple(weight.shape)}"
                raise ValueError(f"{name} has shape {shapes}")
            if not bool(latent.isfinite().all()):
                raise ValueError(f"{name} is not finite")
            if not torch.equal(sign(latent.to(weight)), weight):
                raise ValueError(f"{name} does not have the sign of its weight in every element")
    return model


def _needs_tokens(made: Any) -> bool:
    """Return whether a constructor has the argument `tokens` without a default."""
    tokens = inspect.signature(made).parameters.get("tokens")
    return tokens is not None and tokens.default is tokens.empty


def without_files(choice: Choice) -> Choice:
    """Return a model's choice without the files of its initial weights; its state is loaded.

    So it is with models that the model is made of.
    """
    for option in choice.component.options:
        if option.path:
            choice = choice.having(option.name, option.default)
        elif option.part and option.part.kind == Kind.MODEL:
            choice = choice.having(option.name, without_files(choice.options[option.name]))
    return choice


def digests(choices: Mapping[Kind, Choice]) -> dict[str, str]:
    """Return a digest of each file or folder that a run is given, by its option.

    Streams are left out: their protocols say what their data are.
    """
    return {
        f"{place}.{option.name}": digest(Path(each.options[option.name]))
        for kind, choice in choices.items()
        if kind is not Kind.STREAM
        for place, each in choice.within(kind)
        for option in each.component.options
        if option.path and each.options[option.name]
    }


def make_rule(host: PluginHost, choice: Choice, model: Model, *, seed: int) -> LearningRule:
    """Make a rule and attach it to the model, without the `inference` that an earlier rule set."""
    rule: LearningRule = make(host, choice)
    before, model.inference = model.inference, None
    try:
        with named(choice, "in attach()"):
            rule.attach(model, seeds.generator(seed, "feedback"))
            if rule.memory is not None:
                expect_one_path(rule, model)
            if "inference" in dict(model.named_children()):
                raise ValueError("model.inference must be a function or the like, no nn.Module")
    except Exception:
        model.inference = before
        raise
    return rule


def make_optimizer(host: PluginHost, choice: Choice, model: Model, *, seed: int) -> Optimizer:
    """Make an optimizer for the model."""
    optimizer: Optimizer = make(host, choice, model, generator=seeds.generator(seed, "optimizer"))
    return optimizer


def check_outputs(model: Model, stream: TaskStream, task: Task, who: str, whose: str) -> None:
    """Refuse a model whose outputs do not fit a stream's targets, such as those of this task.

    Raises:
        UsageError: If they do not fit, or the model cannot take the inputs. The message calls the
            model `who`, and the stream `whose`.
    """
    try:
        *_, output = segment_shapes(model, stream.input_shape)
    except UsageError as error:
        raise UsageError(f"{who}: {error}") from error
    needed = task.objective.output_shape(tuple(task.train.labels.shape[1:]), stream.classes)
    if output != needed:
        raise UsageError(
            f"{who} returns outputs of shape {output} for an input, and {whose} needs {needed}: "
            f"its targets are {task.objective.name}"
        )


def check_selection(
    choice: Choice, model: Model, stream: TaskStream, tasks: Sequence[Task], whose: str
) -> None:
    """Refuse a model that cannot select each of the tasks, or answer in the last one.

    The model is left as it was.

    Raises:
        UsageError: If it cannot. The message calls the stream `whose`.
    """
    attributes = [value for part in model.modules() for value in vars(part).values()]
    own = [(it, it.get_state()) for it in attributes if isinstance(it, torch.Generator)]
    with undisturbed(model):
        for task in tasks:
            number = f"task {task.index + 1} of {len(tasks)}"
            with named(choice, f"when it was told of {number}"):
                model.select_task(task.index)
        check_outputs(model, stream, tasks[-1], f"{choice} at {number}", whose)
    for generator, state in own:
        generator.set_state(state)


def make_probe(host: PluginHost, choice: Choice) -> Probe:
    """Make a probe."""
    probe: Probe = make(host, choice)
    return probe


def make_learner(
    host: PluginHost, config: RunConfig, stream: TaskStream, task: Task, device: torch.device
) -> tuple[Model, LearningRule, Optimizer]:
    """Make a model for a stream, on the device, with its rule and its optimizer.

    The `task` is any of the stream's, which have targets of one kind.
    """
    choices, seed = config.choices, config.seed
    model = make_model(
        host,
        choices[Kind.MODEL],
        input_shape=stream.input_shape,
        classes=stream.classes,
        tokens=stream.tokens,
        seed=seed,
    )
    model.to(device)
    check_outputs(model, stream, task, str(choices[Kind.MODEL]), str(choices[Kind.STREAM]))
    expect_for_model(config, stream, model)
    model.classes = stream.classes
    rule = make_rule(host, choices[Kind.RULE], model, seed=seed)
    expect_learnable(rule, task.objective)
    if config.precision == "bfloat16":
        if not torch.amp.is_autocast_available(device.type):
            raise UsageError(f"precision: torch has no bfloat16 for {device.type}; use float32.")
        rule.precision = torch.bfloat16
        rule.autocast(device)  # a rule that cannot says so
    if config.compile:
        if not rule.whole_segments:
            raise UsageError(
                f"compile: {choices[Kind.RULE]} looks into the segments, which compiling would "
                "hide; leave compile out"
            )
        # torch counts the versions of all segments together, and gives up beyond its limit, which
        # newer versions call recompile_limit, too
        limits = torch._dynamo.config
        limits.cache_size_limit = max(limits.cache_size_limit, 8 * len(model.segments))
        for segment in model.segments:
            segment.compile()
    optimizer = make_optimizer(host, choices[Kind.OPTIMIZER], model, seed=seed)
    if config.kernels == "compiled":
        make_kernels = host.library(KERNELS, "bnnlab_kernels.compiled:kernels_of")
        with named(choices[Kind.OPTIMIZER], "when its kernels were made"):
            optimizer.kernels = make_kernels(optimizer)
    return model, rule, optimizer
