"""The conformance kit on components that are right, and on ones that are wrong on purpose."""

import os
import re
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from broken import (  # noqa: F401 - each module adds to CASES
    CASES,
    RIGHT,
    Case,
    around,
    citizens,
    devices,
    divisions,
    formulas,
    keeping,
    leaks,
    lives,
    memories,
    models,
    objectives,
    optimizers,
    parameters,
    parts,
    passes,
    posteriors,
    probes,
    protocols,
    readings,
    rules,
    settings,
    streams,
    suiting,
    tasks,
    traces,
    watching,
)
from broken.kit import (
    CONTRACTS,
    ON_DEVICES,
    OfAnObjective,
    declaration_of,
    failing,
    failures,
    kind_of,
    name_of,
    source_of,
)
from torch import Tensor

from bnnlab.interfaces.objective import Objective
from bnnlab.interfaces.objectives import ClassPerPosition
from bnnlab.registry.components import Kind
from bnnlab_testing.component_contract import ComponentContract
from bnnlab_testing.pytest_plugin import MakePlugin, write_plugin


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Install all components of `broken` as one plugin, so that plugins are found once."""
    folder = tmp_path_factory.mktemp("installed")
    found = {*RIGHT, *(case.made for case in CASES)}
    every = {made for made in (*found, models.FineTokens) if not issubclass(made, Objective)}
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        write_plugin(folder, "acme-all", source_of(*(declaration_of(m, name_of(m)) for m in every)))
        yield
    sys.modules.pop("acme_all", None)


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize("made", RIGHT, ids=name_of)
@pytest.mark.slow
def test_what_is_right_in_an_unusual_way_passes_the_checks_that_look_at_it(made: type) -> None:
    assert not failing(made, name_of(made), *RIGHT[made])


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(
    "case",
    [pytest.param(case, marks=[pytest.mark.slow] * case.check.endswith("_grow")) for case in CASES],
    ids=lambda case: f"{case.made.__name__}-{case.check}",
)
def test_a_component_that_is_wrong_fails_the_check_for_it(case: Case) -> None:
    failed = failing(case.made, name_of(case.made), case.check)
    assert case.check in failed
    assert re.search(case.message, failed[case.check], re.DOTALL)


class TestEachCheckBeginsAsTheFirst(ComponentContract):
    """What it changes is found by the last check, whatever those before have left."""

    kind = Kind.PROBE
    name = "bnnlab-analysis/weights"
    xfail = {
        "test_it_can_be_made": "there is nothing to make",
        "test_the_global_state_is_left_alone": "it changes the environment",
    }

    def make(self, seed: int = 0) -> None:
        """Change the state of the process."""
        os.environ["BNNLAB_DATA"] = "elsewhere"

    def exercise(self, seed: int = 0) -> list[Tensor]:
        """Change it, too."""
        self.make()
        return []


SHOWN_BELOW = {
    "test_it_says_what_it_is_and_where_it_comes_from",
    "test_the_entry_module_is_data_alone",
    "test_its_claims_can_be_measured",
    "test_its_capabilities_are_those_of_its_kind",
    "test_its_defaults_are_within_their_own_bounds",
    "test_its_options_are_its_constructors_keywords",
    "test_its_options_are_read_without_importing_it",
}
KEPT_BY_THE_CORE = {
    "test_it_can_be_made",
    "test_an_unknown_option_is_refused_by_name",
    "test_what_is_no_sign_is_not_adopted",
}


def test_every_check_finds_something() -> None:
    contracts = (*CONTRACTS.values(), OfAnObjective)
    checks = {name for each in contracts for name in dir(each) if name.startswith("test_")}
    found = {case.check for case in CASES} | SHOWN_BELOW | KEPT_BY_THE_CORE
    assert checks == found


@pytest.mark.parametrize(
    ("fields", "check", "message"),
    [
        ({"source": " "}, "test_it_says_what_it_is_and_where_it_comes_from", "say which paper"),
        ({"summary": ""}, "test_it_says_what_it_is_and_where_it_comes_from", "summary is empty"),
        ({"top": "import torch"}, "test_the_entry_module_is_data_alone", "imports torch"),
        ({"top": "import os; os.chdir('/')"}, "test_the_entry_module_is_data_alone", "changes the"),
        ({"provides": {"posterior"}}, "test_its_capabilities_are_those_of_its_kind", "an? optimiz"),
        (
            {"target": "acme_none:Thing"},
            "test_its_class_loads_and_is_documented",
            "cannot be loaded",
        ),
        (
            {"target": "broken.models:Fine"},
            "test_its_class_loads_and_is_documented",
            "must derive from bnnlab.LearningRule",
        ),
    ],
    ids=["source", "summary", "torch", "folder", "capability", "target", "kind"],
)
def test_a_declaration_that_is_wrong_fails_the_check_for_it(
    make_plugin: MakePlugin, fields: dict[str, Any], check: str, message: str
) -> None:
    failed = failures(make_plugin, rules.Fine, only=check, **fields)
    assert check in failed
    assert re.search(message, failed[check])


@pytest.mark.parametrize(
    ("made", "options", "fine"),
    [
        (rules.Optional, "Option('strength', float, 1.0, 'How much.'),", True),
        (rules.Indirect, "Option('strength', float, 1.0, 'How much.'),", True),
        (rules.Optional, "Option('strength', float, 2.0, 'How much.'),", False),
        (rules.Indirect, "Option('strength', float, 2.0, 'How much.'),", False),
        (rules.Optional, "Option('strenght', float, 1.0, 'How much.'),", False),
        (rules.Fine, "Option('strength', float, 1.0, 'How much.'),", False),
        (rules.Indirect, "", True),
    ],
)
def test_options_are_compared_with_the_constructor_and_its_bases(
    make_plugin: MakePlugin, made: type, options: str, fine: bool
) -> None:
    check = "test_its_options_are_its_constructors_keywords"
    assert bool(failures(make_plugin, made, options=options, only=check)) is not fine


@pytest.mark.parametrize(
    ("made", "check", "message"),
    [
        (
            rules.Indirect,
            "test_it_says_what_it_is_and_where_it_comes_from",
            "strength has no help: .*docstring of broken.rules:Indirect",
        ),
        (
            rules.Explained,
            "test_its_options_are_its_constructors_keywords",
            "docstring of Explained explains what its constructor does not take: strenght",
        ),
        (
            rules.Tabled,
            "test_its_options_are_its_constructors_keywords",
            r"keywords of Tabled that are no options: table\. Annotate",
        ),
        (
            rules.Indirect,
            "test_its_options_are_read_without_importing_it",
            "Optional is no plain class",
        ),
    ],
)
def test_options_in_a_signature_that_are_wrong_fail_the_check_for_it(
    make_plugin: MakePlugin, made: type, check: str, message: str
) -> None:
    failed = failures(make_plugin, made, options=None, only=check)
    assert re.search(message, failed[check])


@pytest.mark.parametrize(
    ("made", "check", "excuse"),
    [
        (rules.Usual, "test_the_loss_is_the_batchs_own", {"own_objective": True}),
        (
            rules.ComparesByTheUsualSize,
            "test_gradients_are_those_of_the_batch_mean",
            {"own_objective": True},
        ),
        (
            models.PartlyReal,
            "test_its_real_weights_are_named",
            {"real": {"segments.2.weight": "the last layer stays real"}},
        ),
        (
            settings.IgnoresADecay,
            "test_no_option_is_ignored",
            {"without_effect": {"decay": "kept for old configurations"}},
        ),
    ],
)
def test_a_contract_can_excuse_what_is_meant_so(
    make_plugin: MakePlugin, made: type, check: str, excuse: dict[str, Any]
) -> None:
    assert not failures(make_plugin, made, only=check, attributes=excuse)


@pytest.mark.parametrize(
    ("made", "check", "attribute", "name"),
    [
        (models.Fine, "test_its_real_weights_are_named", "real", "segments.9.weight"),
        (
            optimizers.Fine,
            "test_no_option_is_ignored",
            "without_effect",
            "lr",
        ),
    ],
)
def test_an_excuse_for_nothing_is_refused(
    make_plugin: MakePlugin, made: type, check: str, attribute: str, name: str
) -> None:
    excuse = {attribute: {name: "gone"}}
    assert name in failures(make_plugin, made, only=check, attributes=excuse)[check]


@pytest.mark.slow
def test_an_optimizer_is_checked_with_the_rule_that_suits_it(make_plugin: MakePlugin) -> None:
    made = parts.AsksForItsRule
    make_plugin("acme-kit", source_of(declaration_of(made, "thing")))
    every = {name for name in dir(CONTRACTS[kind_of(made)]) if name.startswith("test_")}
    found = failing(made, "thing", *(every - ON_DEVICES))
    unsuited = [check for check, message in found.items() if "needs a rule that sc" in message]
    assert len(unsuited) > 15
    assert not failing(made, "thing", *unsuited, make_rule=lambda _: parts.Scored())


def test_a_model_of_vectors_is_interrupted_and_goes_on(make_plugin: MakePlugin) -> None:
    vectors = {"input_shape": (16,)}
    assert not failures(make_plugin, models.Fine, only=optimizers.GOES_ON, attributes=vectors)


@pytest.mark.usefixtures("installed")
def test_a_model_of_token_ids_with_a_class_per_position_passes_every_check() -> None:
    made = models.FineTokens
    checks = [name for name in dir(CONTRACTS[Kind.MODEL]) if name.startswith("test_")]
    told = {"input_shape": (6,), "tokens": 11, "objective": ClassPerPosition()}
    real = {"segments.0.0.weight": "the table of tokens"}
    assert not failing(made, name_of(made), *checks, **told, real=real)


def test_sizes_may_shrink_in_every_step_whatever_was_loaded(make_plugin: MakePlugin) -> None:
    check = "test_weights_that_are_loaded_are_learned_from"
    assert not failures(make_plugin, posteriors.Decays, only=check)


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ("minimum=2", "at least 2"),
        ("maximum=1, search=(0.1, 2.0)", "worth trying, but refused: .*at most 1"),
        ("search=([0.1], [0.2])", "worth trying, but refused: .*a float"),
        ("search=(0.2, 0.1)", "no range goes from"),
    ],
)
def test_a_default_or_trial_outside_its_own_bounds_is_found(
    make_plugin: MakePlugin, limits: str, message: str
) -> None:
    options = f"Option('strength', float, 1.0, 'How much.', {limits}),"
    check = "test_its_defaults_are_within_their_own_bounds"
    failed = failures(make_plugin, rules.Optional, options=options, only=check)
    assert re.search(message, failed[check])


PLUGIN_TEST = """
    from bnnlab_testing import LearningRuleContract

    class TestDFA(LearningRuleContract):
        name = "dfa"
        xfail = {"%s": "on purpose"}
"""
CHECK = "test_the_closure_overwrites_gradients"


def test_an_expected_failure_that_passes_is_a_failure(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(PLUGIN_TEST % CHECK)
    result = pytester.runpytest_inprocess("-k", "overwrites or finite")
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["*XPASS(strict)*on purpose*"])


def test_an_expected_failure_is_expected(pytester: pytest.Pytester) -> None:
    broken = f"        def {CHECK}(self): assert False\n"
    pytester.makepyfile(PLUGIN_TEST % CHECK + broken)
    pytester.runpytest_inprocess("-k", "overwrites or finite").assert_outcomes(passed=1, xfailed=1)


def test_what_follows_from_unequal_uses_says_so(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        PLUGIN_TEST % "test_no_hook_is_left_behind"
        + """
        def test_the_same_seed_gives_the_same(self): assert 0, "two uses with the same seed differ"
        def test_no_graph_is_kept(self): assert 0, "a graph"
        def test_no_hook_is_left_behind(self): assert 0
"""
    )
    result = pytester.runpytest_inprocess("-k", "same_seed or graph_is_kept or no_hook")
    result.assert_outcomes(failed=2, xfailed=1)
    result.stdout.fnmatch_lines(["*test_the_same_seed_gives_the_same fails, too: mend that first*"])


def test_an_expected_failure_of_no_check_is_refused(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(PLUGIN_TEST % "test_nothing")
    result = pytester.runpytest_inprocess()
    result.stderr.fnmatch_lines(["*TestDFA.xfail: no check is called 'test_nothing'*"])


@pytest.mark.parametrize(
    ("contract", "message"),
    [
        ('nam = "dfa"', '*TestDFA: say which component it checks: name = "..."*'),
        ('name = "dfa"; wait = 3', "*TestDFA.wait is not known: do you mean 'waits'?*"),
        ('name = "dfa"; fall_to = 0.9', "*TestDFA.fall_to is not known: do you mean 'falls_to'?*"),
    ],
)
def test_a_contract_that_is_not_what_it_seems_is_refused(
    pytester: pytest.Pytester, contract: str, message: str
) -> None:
    head = "from bnnlab_testing import LearningRuleContract\nclass TestDFA(LearningRuleContract):\n"
    pytester.makepyfile(f"{head}    {contract}\n    size = 3\n")
    pytester.runpytest_inprocess("--collect-only").stderr.fnmatch_lines([message])


def test_a_plugin_made_for_a_test_is_gone_after_it(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import sys
        import pytest

        @pytest.mark.parametrize("version", ["1.0", "2.0"])
        def test_versions(make_plugin, version):
            from bnnlab import PluginHost

            assert "acme" not in sys.modules
            make_plugin("acme", f"version = {version!r}", version=version)
            (plugin,) = [p for p in PluginHost().plugins if p.distribution == "acme"]
            assert plugin.version == version == sys.modules["acme"].version
        """
    )
    pytester.runpytest_inprocess().assert_outcomes(passed=2)


def test_importing_the_kit_loads_neither_torch_nor_pytest(pytester: pytest.Pytester) -> None:
    code = "import sys, bnnlab_testing; sys.exit('torch' in sys.modules or 'pytest' in sys.modules)"
    assert pytester.runpython_c(code).ret == 0
    code = "import sys, bnnlab_testing.pytest_plugin; sys.exit('torch' in sys.modules)"
    assert pytester.runpython_c(code).ret == 0
    code = "import bnnlab_testing; bnnlab_testing.Nothing"
    assert "no attribute 'Nothing'" in pytester.runpython_c(code).stderr.str()
