"""The settings of a run: the one table of them, and a run's whole configuration. No torch."""

from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Literal

from bnnlab.markers import AtLeast, AtMost, Below, Part, Positive
from bnnlab.registry.components import MANY, PARTS, Component, Kind
from bnnlab.registry.discovery import Plugin
from bnnlab.registry.signatures import options_of

EvaluateOn = Literal["test", "validation"]
"""A part of a task that a run is scored on."""
Schedule = Literal["constant", "cosine", "step", "multistep", "exponential", "one-cycle"]
"""How learning rates change."""
Loss = Literal["cross-entropy", "squared-hinge", "squared-error", "bce"]
"""What is learned of a class per input."""
_Count = Annotated[int, AtLeast(1), Below(2**31)]


@dataclass(frozen=True, kw_only=True)
class RunSettings:
    """What a run is told besides its components: each setting, its default, bounds and help.

    Attributes:
        epochs: Passes over each task's training data. A list: one number per task.
        steps: Optimizer steps per task, in place of epochs. none: epochs.
        batch_size: Examples per training step.
        loss: What is learned where each input has a class.
        label_smoothing: Share of the target that all classes have, of cross-entropy.
        accumulate: Pieces of a batch that are differentiated one after another. This takes less
            memory; the gradient is the same.
        clip_value: Clip each number of the gradient to this size. none: no bound.
        schedule: How the learning rates change, after the warm-up.
        schedule_by: Unit of time of schedule and warm-up.
        schedule_over: Whether the schedule begins again in each task or spans the run.
        schedule_gamma: Factor of step, multistep and exponential.
        schedule_every: Time between two changes of step.
        schedule_at: Times of the changes of multistep.
        warmup: Time in which the learning rates rise to their values.
        task_decay: Factor of the learning rates from each task to the next.
        patience: Epochs without a better validation accuracy that end a task. none: no early
            stopping.
        keep: What is kept of a task. best: the epoch with the best validation accuracy.
        seed: Root seed of all random numbers.
        evaluate_on: Part of each task that the run is scored on. validation: the test part is not
            read, so settings may be chosen by the result.
        evaluate: After which tasks the run is scored, on which: all, every:K, last:N or final.
        forward: Measure forward transfer, if all are scored: score each task before it is learned.
        device: Where the run computes: auto, cpu, cuda, cuda:1 or mps.
        threads: CPU threads of torch. none: torch's number, at most the cores that this process
            may use.
        uncertainty: Measure calibration and out-of-distribution detection. Runs evaluated by
            weight draws always do.
        fresh: Measure plasticity: also train a fresh model per task. Doubles the time.
        diagnose: After every epoch, compare the rule's gradient with the exact one, per segment.
        precision: Number format of matrix products in training. Weights and gradients are always
            float32.
        compile: Compile each segment with torch.compile. The first step then takes up to minutes.
        kernels: What updates weights. compiled: loops of bnnlab-kernels, faster on a CPU; random
            numbers are others.
        checkpoint_minutes: Minutes between checkpoints within an epoch or an evaluation. 0: after
            every step.
        data: Folder of the data sets. none: $BNNLAB_DATA or the cache folder.
        out: Folder to make the run's folder in. none: write no files.
        name: Name of the run's folder. none: made of the components' names.
    """

    epochs: _Count | Sequence[_Count] = 5
    steps: _Count | None = None
    batch_size: _Count = 100
    loss: Loss = "cross-entropy"
    label_smoothing: Annotated[float, AtLeast(0), Below(1)] = 0.0
    accumulate: _Count = 1
    clip_value: Positive | None = None
    schedule: Schedule = "constant"
    schedule_by: Literal["epoch", "step"] = "epoch"
    schedule_over: Literal["task", "run"] = "task"
    schedule_gamma: Positive = 0.1
    schedule_every: _Count = 1
    schedule_at: Sequence[_Count] = ()
    warmup: Annotated[int, AtLeast(0), Below(2**31)] = 0
    task_decay: Positive = 1.0
    patience: _Count | None = None
    keep: Literal["last", "best"] = "last"
    seed: Annotated[int, AtLeast(0), Below(2**63)] = 0
    evaluate_on: EvaluateOn = "test"
    evaluate: str = "all"
    forward: bool = True
    device: str = "auto"
    threads: Annotated[int | None, AtLeast(1), AtMost(1024)] = None
    uncertainty: bool = False
    fresh: bool = False
    diagnose: bool = False
    precision: Literal["float32", "bfloat16"] = "float32"
    compile: bool = False
    kernels: Literal["torch", "compiled"] = "torch"
    checkpoint_minutes: Annotated[float, AtLeast(0)] = 10.0
    data: str | None = None
    out: str | None = "runs"
    name: str | None = None


RUN_OPTIONS = tuple(options_of(RunSettings))
ELSEWHERE = ("data", "out", "name", "device", "threads", "checkpoint_minutes", str(Kind.TRACKER))
"""Settings that may differ where a run is continued: where it computes, lies and is shown."""

KINDS: Mapping[Kind, str] = {
    Kind.RULE: "Learning rule: gives the gradients.",
    Kind.OPTIMIZER: "Optimizer: turns gradients into weights.",
    Kind.MODEL: "Model: the network.",
    Kind.STREAM: "Stream: the tasks, one after another.",
}
"""The settings that choose a component, with their help."""
MANY_HELP: Mapping[Kind, str] = {
    Kind.PROBE: "Measure the run by this probe (`bnn info probe`). May be repeated.",
    Kind.TRACKER: "Show the run in this tracker (`bnn info track`). May be repeated.",
}
"""The settings that name any number of components of a kind, with their help."""
RUN_KINDS = (*PARTS, *MANY)
"""The kinds of component that a run has."""
ANALYSIS = "bnnlab-analysis"
"""The distribution of the probes that settings stand for."""
STUDIES = "bnnlab-studies"
"""The distribution that repeats runs."""
PLOTS = "bnnlab-plots"
KERNELS = "bnnlab-kernels"
"""The distribution of compiled loops."""
TRACKING = "bnnlab-tracking"
"""The distribution that tells trackers of a run."""
MEASURING: Mapping[str, str] = {
    "uncertainty": "uncertainty",
    "diagnose": "diagnosis",
    "fresh": "fresh",
}
"""The settings that stand for a probe of it, and the probe."""


@dataclass(frozen=True)
class Choice:
    """A component that was chosen, with all its options.

    Attributes:
        plugin: Offers it.
        component: Its declaration.
        options: By name; one that is a component is its `Choice`.
    """

    plugin: Plugin
    component: Component
    options: dict[str, Any]

    def __str__(self) -> str:
        return str(self.component)

    @property
    def name(self) -> str:
        """The component's name with its distribution: `distribution/name`."""
        return f"{self.plugin.distribution}/{self.component.name}"

    @property
    def parts(self) -> dict[str, "Choice"]:
        """The components that it is made of, by option."""
        return {name: its for name, its in self.options.items() if isinstance(its, Choice)}

    def marked(self) -> Iterator[tuple[str, Part, "Choice"]]:
        """Yield option and declaration of each component that it is made of, and the component."""
        for option in self.component.options if self.parts else ():
            if option.part:
                yield option.name, option.part, self.parts[option.name]

    def within(self, place: str) -> Iterator[tuple[str, "Choice"]]:
        """Yield itself and all that it is made of, each with its place, as `optimizer.base`."""
        yield place, self
        for name, part in self.parts.items():
            yield from part.within(f"{place}.{name}")

    @property
    def named(self) -> dict[str, Any]:
        """Its options, with the name of each part."""
        return {**self.options, **{name: its.component.name for name, its in self.parts.items()}}

    @property
    def settings(self) -> dict[str, Any]:
        """Its options as settings: a table of name and options for each part."""
        return {**self.options, **{name: its.table for name, its in self.parts.items()}}

    @property
    def table(self) -> dict[str, Any]:
        """Its name and its options as settings."""
        return {"name": self.name, **self.settings}

    @property
    def keywords(self) -> dict[str, Any]:
        """What its constructor gets, but for its parts: a copy, since it may change a list."""
        plain = {name: value for name, value in self.options.items() if name not in self.parts}
        return deepcopy({**self.component.preset, **plain})

    def having(self, option: str, value: Any) -> "Choice":
        """Return it with another value of an option, which is not checked."""
        return replace(self, options={**self.options, option: value})

    def capabilities(self) -> tuple[frozenset[str], frozenset[str]]:
        """Return what it (provides, requires) with its options; its parts may pass on theirs."""
        passed = (part.passed(its.capabilities()[0]) for _, part, its in self.marked())
        return self.component.capabilities(self.named, set[str]().union(*passed))


@dataclass(frozen=True, kw_only=True)
class RunConfig(RunSettings):
    """Everything that determines a run.

    Attributes:
        choices: Its components.
        probes: What measures it beside the probes that settings stand for, by
            `distribution/name`.
        trackers: What shows it elsewhere, by `distribution/name`.
        places: The settings that it was made of, weakest first.
    """

    choices: dict[Kind, Choice]
    probes: dict[str, Choice] = field(default_factory=dict)
    trackers: dict[str, Choice] = field(default_factory=dict)
    places: tuple[Any, ...] = field(default=(), repr=False, compare=False)

    def as_dict(self) -> dict[str, Any]:
        """Return the configuration as run.toml holds it: enough to repeat the run."""
        every = {option.name: getattr(self, option.name) for option in RUN_OPTIONS}
        every |= {str(kind): choice.table for kind, choice in self.choices.items()}
        for kind, chosen in ((Kind.PROBE, self.probes), (Kind.TRACKER, self.trackers)):
            if chosen:
                every[str(kind)] = {name: choice.settings for name, choice in chosen.items()}
        return {key: _toml(value) for key, value in every.items()}


def _toml(value: Any) -> Any:
    """Return a value with `none` for None, which TOML does not have."""
    if isinstance(value, dict):
        return {key: _toml(inner) for key, inner in value.items()}
    return "none" if value is None else value
