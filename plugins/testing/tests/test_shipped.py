"""What a plugin says of its components itself, in the module `contracts` of its package."""

import json
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from broken import rules
from broken.kit import declaration_of, source_of

from bnnlab.cli import main
from bnnlab_testing import command, process
from bnnlab_testing.pytest_plugin import MakePlugin
from bnnlab_testing.shipped import is_code_of

PLUGINS = Path(__file__).parents[2]
CONTRACTS = """
import pytest
from bnnlab_testing import LearningRuleContract

print("this is no part of a report")


@pytest.fixture
def horn():
    return 3


class Horn(LearningRuleContract):
    waits = 2


class TestNobody(Horn):
    __test__ = False


class TestLoud(Horn):
    name = "loud"
    options = {"size": 2, "half": True}
    xfail = {"test_no_hook_is_left_behind": "it leaves one"}

    def make_model(self):
        return super().make_model()


class TestLoudAndSmall(Horn):
    name = "Acme_Horn/loud"
    options = {"size": 1}
"""
TOLD = ("about", "message", "page", "advice", "chosen", "seconds")
RUN = """
class TestLoud:
    bnnlab_contract, kind, name, xfail = True, "rule", "loud", {"test_it_moves": "it cannot"}

    def test_its_fixture(self, horn):
        found = horn
        assert found == 4

    def test_it_moves(self):
        assert False

    @pytest.mark.slow
    def test_it_is_slow(self):
        pass


class TestSoft:
    bnnlab_contract, kind, name, xfail = True, "rule", "soft", {}
    asked = []

    @pytest.mark.parametrize("time", [1, 2])
    def test_its_data(self, time):
        self.asked.append(time)
        assert self.asked == [1]
        raise DownloadError("horns: they are in no folder")
"""

Ship = Callable[[str], None]


@pytest.fixture
def ship(make_plugin: MakePlugin) -> Ship:
    """Return what installs a plugin of two rules with this module `contracts` in its package."""

    def install(contracts: str) -> None:
        made = (declaration_of(rules.Fine, name) for name in ("loud", "soft"))
        make_plugin("acme-horn", source_of(*made))
        module = Path(sys.path[0], "acme_horn.py")
        module.with_suffix("").mkdir()
        module.rename(module.with_suffix("") / "__init__.py")
        (module.with_suffix("") / "contracts.py").write_text(contracts)

    return install


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the test files that the command makes; one test of each class is taken as passed."""
    sources = list[str]()

    def run(source: str, folder: Path, modules: Any) -> Iterator[dict[str, Any]]:
        (folder / process.JUNIT).touch()
        sources.append(f"{source}\n# {modules}")
        for name in re.findall(r"class (\w+)", source):
            yield {**dict.fromkeys(TOLD), "made": name, "test": "test_it", "outcome": "passed"}

    monkeypatch.setattr(command, "run", run)
    return sources


def test_a_component_is_tested_as_its_test_class_would(
    make_plugin: MakePlugin, made: list[str]
) -> None:
    make_plugin("acme-horn", source_of(declaration_of(rules.Fine, "loud")))
    said = ["rule.loud.options.size=2", "rule.loud.toy=mlp", "rule.loud.waits=1"]
    assert main(["test-plugin", "acme-horn", *(f"--set={each}" for each in said)]) == 0
    assert made == [
        "import pytest\n"
        "import bnnlab_testing\n\n\n"
        "class Test0_rule_loud(bnnlab_testing.LearningRuleContract):\n"
        "    name = 'acme-horn/loud'\n"
        "    options = {'size': 2}\n"
        "    toy = 'mlp'\n"
        "    waits = 1\n\n"
        "# []"
    ]


def test_the_first_class_of_a_component_is_used_and_set_wins(
    ship: Ship, made: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    ship(CONTRACTS)
    assert main(["list-plugins"]) == 0
    assert "acme_horn.contracts" not in sys.modules
    capsys.readouterr()
    words = ["--set=rule.loud.options.size=3", "--set=rule.soft.waits=1"]
    assert main(["test-plugin", "acme-horn", *words]) == 0
    assert made == [
        "import pytest\n"
        "import acme_horn.contracts\n"
        "import bnnlab_testing\n\n\n"
        "class Test0_rule_loud(acme_horn.contracts.TestLoud):\n"
        "    name = 'acme-horn/loud'\n"
        "    options = {'size': 3, 'half': True}\n\n\n"
        "class Test1_rule_soft(bnnlab_testing.LearningRuleContract):\n"
        "    name = 'acme-horn/soft'\n"
        "    waits = 1\n\n"
        "# ['acme_horn.contracts']"
    ]
    _, said, others = capsys.readouterr().out.split("\n\n")
    assert said == (
        "acme_horn.contracts.TestLoud says of the rule loud:\n"
        "  make_model: its own\n"
        "  options.size: 3\n"
        "  options.half: True\n"
        "  waits: 2\n"
        "  xfail.test_no_hook_is_left_behind: it leaves one"
    )
    assert re.search(r"-m pytest --pyargs acme_horn.contracts` runs .*: TestLoudAndSmall\n", others)

    assert main(["test-plugin", "acme-horn", "--report", "json"]) == 0
    loud, soft = json.loads(capsys.readouterr().out)["tested"]
    assert (loud["class"], len(loud["said"])) == ("acme_horn.contracts.TestLoud", 5)
    assert (soft["class"], soft["said"]) == ("bnnlab_testing.LearningRuleContract", [])


@pytest.mark.parametrize(
    ("contracts", "message"),
    [
        (
            CONTRACTS.replace('"loud"', '"lout"'),
            "acme_horn.contracts.TestLoud: acme-horn offers no rule 'lout'. Did you mean 'loud'?",
        ),
        (
            CONTRACTS.replace('    name = "loud"', "    toy = 'mlp'"),
            "acme_horn.contracts.TestLoud: acme-horn offers no rule ''.",
        ),
        (
            "import acme_not_there",
            "acme_horn.contracts cannot be imported: ModuleNotFoundError: No module named 'acme_",
        ),
        (
            "import pytest; pytest.importorskip('acme_not_there')",
            "acme_horn.contracts cannot be imported: Skipped: could not import 'acme_not_there'",
        ),
    ],
)
def test_what_is_wrong_with_it_is_named(
    contracts: str, message: str, ship: Ship, capsys: pytest.CaptureFixture[str]
) -> None:
    ship(contracts)
    assert main(["test-plugin", "acme-horn"]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.slow
def test_what_is_known_and_what_is_not_here_is_told(
    ship: Ship, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its fixtures are known, its assertions show values, and missing data are asked for once."""
    head = CONTRACTS.partition("class Horn")[0]
    ship(f"{head}\nfrom bnnlab import DownloadError\n{RUN}")
    assert main(["test-plugin", "acme-horn"]) == 1
    counts, missing, failure, _ = capsys.readouterr().out.split("\n\n")
    assert counts == ("rule      loud  1 failed, 1 passed, 1 xfailed\nrule      soft  2 skipped")
    why = "its data are not on this machine: horns: they are in no folder"
    assert missing == f"No test ran of rule soft: {why}"
    assert failure == "rule loud: test_its_fixture\n  assert 3 == 4"


@pytest.mark.parametrize(
    ("module", "is_code"),
    [
        ("acme", True),
        ("acme.rule", True),
        ("acme.contracts_of_others", True),
        ("acme.contracts", False),
        ("acme.contracts.rules", False),
        ("acme_horn", False),
    ],
)
def test_a_test_class_is_no_code_of_its_component(module: str, is_code: bool) -> None:
    """What it seeds to make a model, the component does not seed."""
    assert is_code_of("acme", module) is is_code


@pytest.mark.slow
@pytest.mark.parametrize("name", ["bnnlab-demo", "bnnlab-mlp", "bnnlab-pepita"])
def test_plugins_of_ours_pass(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The rest take a quarter of an hour: `make test-plugins`."""
    assert main(["test-plugin", name]) == 0, capsys.readouterr().out
