"""The page of published settings: every option has an answer, and `bnn run` takes every answer."""

import re
import shlex
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import pytest
import typer
from pages import read

from bnnlab.cli import app
from bnnlab.cli.choosing import layer
from bnnlab.registry.components import PARTS, Kind
from bnnlab.registry.host import PluginHost
from bnnlab.settings.fit import require
from bnnlab.settings.layers import layers_of_recipe, resolve
from bnnlab.settings.run import RUN_OPTIONS

PAGE = read("docs/methods/settings.md")
SOURCES = (
    "BayesBiNN and its reproduction",
    "Metaplasticity and vision transformers",
    "Bayesian metaplasticity",
    "Equilibrium propagation",
    "Rules without backpropagation",
)
PARSERS = {
    "The authors' programs": """
        model bnmomentum optim val-split criterion batch-size test-batch-size train-samples
        test-samples epochs lr lr-end lr-decay decay-steps tp-decay momentum data-augmentation
        log-interval save-model experiment-id no-cuda seed lrschedular drop-prob trainset_scale
        lamda lamda-std temperature temp-min kl-reweight bn-affine num-tasks scenario experiment""",
    "Tasks one after another": """
        scenario net des in-size hidden-layers ch kr out-size task-sequence lr gamma epochs-per-task
        norm meta rnd-consolidation ewc-lambda ewc si-lambda si bin-path decay init init-width save
        interleaved beaker fb n-bk ratios areas device seed""",
    "Streams of one data set": """
        hidden-layers channels lr epochs-per-task mbs nb-subset meta decay weight-decay init
        init-width task source save device""",
    "MESU on CIFAR and animals": """
        learning_scenario dataset input_transformation shift scale discretize_levels result_dir
        argfile random_seed moy_over hessian_approx parameter_search boundary seasons train_epochs
        batch_size batch_size_fisher batch_size_inf samples_train samples_inf reduction algo
        cnn_mixte num_classes num_heads archi_fcnn elephant_params activation cnn_sampling lambda
        c_si damping_factor coeff_likeli coeff_kl lr weight_decay torch_optim_name clamp_grad c_mu
        c_sigma second_order clamp_mu clamp_sigma sigma_init sigma_init_conv sigma_prior mu_prior N
        ratio_max moment_sigma moment_mu num_task ratio train_epochs_A train_epochs_B L""",
    "The first program": """
        device n_trials study db task norm layers activation n_tasks n_classes batch_size epochs
        label_trick""",
    "main.py": """
        device archi layersList convList padding kernelSize Fpool optim activationFun T Kmax
        gamma_neur beta random_beta binary_settings gamma classi_gamma conv_gamma gradThreshold
        classi_threshold conv_threshold rho_threshold expand_output dataset lrBias batchSize
        test_batchSize epochs learnAlpha lrAlpha decayLrAlpha epochDecayLrAlpha""",
    "train.py": """
        config train-fraction test-set reconstruction augment device early-stopping-delta
        num-workers dogs indoor mnist fashion-mnist cifar10 model binary-weights binary-act unsat
        bireal-act biprop remove-skips method slow-drtp bw-init opt lr wd bs epochs mlp-mixer-layers
        mlp-mixer-dim fc-batchnorm mut-prob ls-accuracy hsic-gamma hsic-mode pepita-gain spsa-c
        spsa-g-pert save autosave no-wandb tags""",
    "The predecessor": """
        method dataset epochs batchsize lr hidden init bn sn hidden-act last-act binarize
        weight-clipping weight-ste binarize_last verbose seed wandb run-name""",
}
"""The options of the papers' argument parsers, by the heading of their table."""
NO_SETTING = r"(always|not wanted|later): \w+.*\w+"
"""An answer without a setting, and its reason."""
SAID = {*PARTS, *(option.name for option in RUN_OPTIONS), "set"}
MANY = {"probe": Kind.PROBE, "track": Kind.TRACKER}


class Row(NamedTuple):
    """A row of a table, and what stands behind `bnn run` in front of its answers."""

    before: str
    option: str
    values: str
    answer: str


def rows() -> Iterator[Row]:
    """Yield the rows of all tables."""
    for table in re.finditer(r"(?:^\|.*\|\n)+", PAGE, re.MULTILINE):
        before = re.findall(r"`bnn run ?([^`]*)`", PAGE[: table.start()])[-1]
        _, _, *lines = table[0].splitlines()
        for line in lines:
            yield Row(before, *(cell.strip() for cell in line.strip("|").split("|")))


ROWS = [*rows()]


@pytest.fixture(scope="module")
def host() -> PluginHost:
    return PluginHost()


@pytest.fixture(scope="module")
def commands(host) -> Mapping[str, Any]:
    """All commands, by name."""
    group = typer.main.get_command(app)
    context = group.make_context("bnn", [], resilient_parsing=True)
    return {name: group.get_command(context, name) for name in group.list_commands(context)}


@pytest.fixture(scope="module")
def taken(commands) -> Callable[[str], Mapping[str, Any]]:
    """What `bnn run` makes of the words behind it; `--set` stands in front of each `a.b=c`."""

    def take(text: str) -> Mapping[str, Any]:
        words = [f"--set={it}" if "=" in it and it[0] != "-" else it for it in shlex.split(text)]
        said: Mapping[str, Any] = commands["run"].make_context("run", words).params
        return said

    return take


def missing(host: PluginHost, words: str) -> list[str]:
    """Return the components in a command that are of plugins that are not installed."""
    named = re.findall(rf"--({'|'.join((*PARTS, *MANY))}) (\S+)", words)
    there = {(str(component.kind), component.name) for _, component in host.components()}
    return [
        f"{kind} {name}"
        for kind, name in named
        if (kind, name) not in there and host.index.offering(f"{kind}:{name}")
    ]


def layer_of(said: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the settings among the arguments of `bnn run`."""
    return layer({name: said[name] for name in SAID if said[name] != ()})


@pytest.mark.parametrize("row", ROWS, ids=lambda row: re.sub(r"[^\w-]+", " ", row.option).strip())
def test_an_option_has_an_answer_that_bnn_takes(row, host, commands, taken):
    answers = re.findall(r"`([^`]+)`", row.answer)
    assert answers or re.match(NO_SETTING, row.answer), row.answer
    assert not re.search(r"\b(not wanted|later)(?!: [\w`])", row.answer), "the reason is missing"
    for answer in answers:
        if answer.startswith("bnn "):
            name = answer.split()[1]
            assert name in commands or host.index.offering(f"command:{name}")
            continue
        if left_out := missing(host, f"{row.before} {answer}"):
            pytest.skip(f"not installed: {', '.join(left_out)}")
        said = taken(answer)
        for kind, its in MANY.items():
            for each in said[kind] or ():
                assert host.resolve(its, each)
        name = said["recipe"]
        recipe = layers_of_recipe(host, name, said["short"]) if name else []
        require(host, resolve(host, [layer_of(taken(row.before)), *recipe, layer_of(said)]))


def test_the_page_has_every_source_and_no_empty_cell_of_the_papers():
    assert re.findall(r"^## (.*)$", PAGE, re.MULTILINE) == [*SOURCES, "Other programs"]
    papers = PAGE[: PAGE.index("## Other programs")]
    assert not re.findall(r"\| *\|", papers, re.MULTILINE)


@pytest.mark.parametrize("heading", PARSERS)
def test_a_table_has_every_option_of_its_parser(heading):
    table = PAGE.partition(f"\n### {heading}\n")[2].partition("\n## ")[0].partition("\n### ")[0]
    options = re.findall(r"^\| ([^|]*) \|", table, re.MULTILINE)
    said = set(re.findall(r"`--([\w-]+)`", " ".join(options)))
    assert said == {*PARSERS[heading].split()}
