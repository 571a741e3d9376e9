"""From a configuration to a run that is ready to go, new or resumed."""

import logging
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import torch

from bnnlab.engine import building, fitting, policies
from bnnlab.engine.differences import in_words
from bnnlab.engine.earlier import translated
from bnnlab.engine.experiment import Experiment
from bnnlab.engine.held_out import expect_held_out
from bnnlab.engine.learner import Learner, restore
from bnnlab.engine.measuring import implied, make_probes
from bnnlab.engine.probes import Probes
from bnnlab.engine.protocol import (
    Origin,
    State,
    compare,
    join_computers,
    join_versions,
    originate,
)
from bnnlab.engine.rates import Rates
from bnnlab.errors import UsageError
from bnnlab.guards import threads
from bnnlab.interfaces.probe import Probe, Run
from bnnlab.interfaces.stream import TaskStream
from bnnlab.registry.components import Kind
from bnnlab.registry.discovery import PluginStatus
from bnnlab.registry.host import PluginHost
from bnnlab.registry.options import is_storable, shown
from bnnlab.registry.requirements import warn_of_unmet
from bnnlab.settings.fit import require
from bnnlab.settings.merging import Layer
from bnnlab.settings.run import RunConfig
from bnnlab.storage.folder import RunFolder, write_setting
from bnnlab.storage.log import hear

log = logging.getLogger(__name__)


def prepare(
    host: PluginHost,
    config: RunConfig,
    resume: RunFolder | None = None,
    *,
    allow_changed_versions: bool = False,
) -> Experiment:
    """Make all that a run needs, and its folder; or continue the run in the folder `resume`.

    With `allow_changed_versions`, torch, bnnlab and plugins may have other versions than before.

    Raises:
        UsageError: If the components do not fit, one cannot be made, or the run cannot be
            continued.
    """
    require(host, config)
    device, data = building.find_device(config.device), building.data_folder(config.data)
    config = replace(config, threads=threads.find(config.threads))
    with ExitStack() as undo, hear() as heard, threads.computing(config.threads):
        state: State | None = None
        if resume:
            undo.callback(resume.unlock)
            state = resume.take_over()
        resumed = state is not None
        used = (*config.choices.values(), *config.trackers.values())
        warn_of_unmet(each.plugin.distribution for it in used for _, each in it.within(""))
        choice = config.choices[Kind.STREAM]
        stream = building.make_stream(host, choice, data=data, device=device, seed=config.seed)
        run = make_run(host, config, stream, device, resumed=resumed)
        Rates(run).check(run.optimizer, run.rule)
        learner = Learner(run.model, run.rule, run.optimizer)
        state = state and translated(state, implied(config, run))
        chosen, made = make_probes(host, config, run, state and state["probes"])
        warn_of_unmet(choice.plugin.distribution for choice in chosen.values())
        probes = Probes(made, run)
        origin = originate(host, config, stream, run, chosen, state)
        if resume and state:
            origin = _restore(resume, state, origin, learner, made, allow_changed_versions)
            ended = learner.progress.ended or not probes.hear(Probe.run_ended)
            if ended and learner.progress.task == len(run.tasks):
                what = ", and its trackers get what they lack" if config.trackers else ""
                log.warning("%s is complete: only its result is written again%s", resume.path, what)
        if resume and config.trackers:
            write_setting(resume.path, Kind.TRACKER, config.as_dict()[Kind.TRACKER])
        folder = resume or _new_folder(host, config, device, data)
        undo.pop_all()
    return Experiment(host, config, run, learner, probes, origin, folder, heard, resumed)


def make_run(
    host: PluginHost, config: RunConfig, stream: TaskStream, device: torch.device, *, resumed: bool
) -> Run:
    """Make tasks, model, rule and optimizer; in a resumed run the model reads no files."""
    choices = dict(config.choices)
    tasks = building.make_tasks(choices[Kind.STREAM], stream, config.evaluate_on)
    fitting.expect_for_data(host, config, stream, tasks[0])
    unknown = None  # streams make them of test images
    if config.evaluate_on == "test":
        unknown = building.make_unknown(choices[Kind.STREAM], stream, tasks)
    if resumed:
        choices[Kind.MODEL] = building.without_files(choices[Kind.MODEL])
    tasks = policies.learning(config, tasks)
    first = replace(config, choices=choices)
    model, rule, optimizer = building.make_learner(host, first, stream, tasks[0], device)
    if stream.gives_task_ids:
        model_choice, whose = choices[Kind.MODEL], str(choices[Kind.STREAM])
        building.check_selection(model_choice, model, stream, tasks, whose)
    policy = policies.of(config, tasks)
    if policy.selects:
        which = "keep = best" if policy.patience is None else "patience"
        for task in tasks:
            expect_held_out(which, choices[Kind.STREAM], task)
    policies.expect_loss_alone(config, rule)
    if policy.pieces > 1:
        policies.expect_separate_rows(rule, model)
    return Run(
        model=model,
        rule=rule,
        optimizer=optimizer,
        tasks=tasks,
        task_ids=stream.gives_task_ids,
        unknown=unknown,
        epochs=config.epochs if isinstance(config.epochs, int) else max(config.epochs),
        batch_size=config.batch_size,
        seed=config.seed,
        make_again=lambda: building.make_learner(host, config, stream, tasks[0], device),
        class_names=stream.class_names,
        policy=policy,
    )


def _restore(
    folder: RunFolder,
    state: State,
    mine: Origin,
    learner: Learner,
    probes: Mapping[str, Probe],
    allow_changed_versions: bool,
) -> Origin:
    """Load a checkpoint, if it is of this run; return the origin of the resumed run."""
    versions = join_versions(folder.path, state["versions"], mine.versions, allow_changed_versions)
    before = state.get("protocol", mine.protocol)  # which earlier checkpoints do not have
    compare(folder.path, state["identity"], mine.identity, in_words(before, mine.protocol))
    computed_on = join_computers(folder.path, state, mine.computed_on)
    learner.load_state_dict(state, folder.path)
    restore(folder.path, state["probes"], **probes)
    folder.restore_metrics(state["metrics"])
    run_id = state.get("run_id", mine.run_id)
    return replace(mine, versions=versions, computed_on=computed_on, run_id=run_id)


def _new_folder(
    host: PluginHost, config: RunConfig, device: torch.device, data: Path
) -> RunFolder | None:
    """Make the run's folder; its run.toml has the device and data folder found, and no name."""
    if config.out is None:
        return None
    where = str(data.resolve())
    if not is_storable(where):
        raise UsageError(f"data: {shown(where)} has characters that a run file cannot hold.")
    settings = {**config.as_dict(), "device": str(device), "data": where}
    del settings["name"]
    naming = (Kind.RULE, Kind.OPTIMIZER, Kind.STREAM)
    described = "-".join(config.choices[kind].component.name for kind in naming)
    folder = RunFolder.create(building.expand(config.out), config.name, described)
    loaded = [plugin for plugin in host.plugins if plugin.status is PluginStatus.OK]
    sources = [place.source for place in config.places if isinstance(place, Layer) and place.source]
    plugins = {each.distribution: each.version for each in loaded}
    folder.describe(settings, {"plugins": plugins, "settings": sources})
    return folder
