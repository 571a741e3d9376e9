import sys
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from bnnlab.errors import NotInstalledError, UsageError, did_you_mean
from bnnlab.registry.components import Component, Kind
from bnnlab.registry.discovery import Plugin, PluginStatus, find_plugins, normalise
from bnnlab.registry.host import PluginHost
from bnnlab_testing.pytest_plugin import MakePlugin


def offering(*names: str, kind: str = "rule", more: str = "") -> str:
    """Return the source of a plugin that offers these components."""
    return f"""
from bnnlab import Component, Kind, hookimpl

{more}

@hookimpl
def bnnlab_components():
    return [
        Component(Kind("{kind}"), name, "acme_missing:Thing", "A thing.", "Nobody, 2020")
        for name in {names!r}
    ]
"""


def plugin(host: PluginHost, distribution: str) -> Plugin:
    (found,) = (each for each in host.plugins if each.distribution == distribution)
    return found


def test_a_plugin_is_found_with_its_version_and_components(make_plugin: MakePlugin) -> None:
    make_plugin("acme-twin", offering("twin"), version="2.5", entry="twin")
    found = plugin(PluginHost(), "acme-twin")
    assert (found.status, found.version, found.name) == (PluginStatus.OK, "2.5", "twin")
    assert [str(component) for component in found.components] == ["rule:twin"]
    assert found.package == "acme_twin"


def test_plugins_are_sorted_by_distribution_and_not_by_when_they_came(
    make_plugin: MakePlugin,
) -> None:
    for name in ("zeta", "acme", "mid"):
        make_plugin(name, offering(name))
    names = [each.distribution for each in PluginHost().plugins]
    assert names == sorted(names)
    assert {"acme", "mid", "zeta"} < set(names)


def test_components_are_sorted_by_kind_and_name(make_plugin: MakePlugin) -> None:
    make_plugin("acme", offering("zz", "aa"))
    names = [component.name for _, component in PluginHost().components(Kind.RULE)]
    assert names == sorted(names)
    kinds = [component.kind for _, component in PluginHost().components()]
    assert kinds == sorted(kinds)


def test_names_of_distributions_are_compared_as_package_indices_do() -> None:
    assert normalise("Acme_Twin.x") == "acme-twin-x"


def test_the_first_of_two_copies_on_the_path_is_the_one(
    make_plugin: MakePlugin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_plugin("acme-twin", offering("twin"), version="2.0")
    older = tmp_path / "older" / "Acme_Twin-1.0.dist-info"
    older.mkdir(parents=True)
    (older / "METADATA").write_text("Metadata-Version: 2.1\nName: Acme_Twin\nVersion: 1.0\n")
    (older / "entry_points.txt").write_text("[bnnlab.v1]\nold = acme_twin\n")
    monkeypatch.setattr(sys, "path", [*sys.path, str(older.parent)])
    assert plugin(PluginHost(), "acme-twin").version == "2.0"


def test_one_distribution_may_have_several_entry_points(
    make_plugin: MakePlugin, tmp_path: Path
) -> None:
    make_plugin("acme", offering("one"), modules={"acme_more": offering("two")})
    (info,) = (tmp_path / "site-packages").glob("*.dist-info")
    (info / "entry_points.txt").write_text(
        "[bnnlab.v1]\na = acme\nb = acme_more\nc = acme\n[bnnlab.v9]\nd = acme\n"
    )
    found = [each for each in PluginHost().plugins if each.distribution == "acme"]
    assert [each.name for each in found] == ["a", "b", "c", "d"]
    assert [str(each.status) for each in found] == ["ok", "ok", "broken", "broken"]
    assert "is the same module as acme/a" in str(found[2].error)
    assert found[3].error == "made for plugin API v9; this core has v1"


def test_one_entry_point_may_serve_several_apis(make_plugin: MakePlugin, tmp_path: Path) -> None:
    make_plugin("acme", offering("one"), modules={"acme_next": "raise RuntimeError"})
    (info,) = (tmp_path / "site-packages").glob("*.dist-info")
    (info / "entry_points.txt").write_text("[bnnlab.v2]\na = acme_next\n[bnnlab.v1]\na = acme\n")
    found = [each for each in PluginHost().plugins if each.distribution == "acme"]
    assert [(each.name, str(each.status), each.error) for each in found] == [("a", "ok", None)]


# -------------------------------------------------------------------- switching off


@pytest.mark.parametrize("said", ["Acme_Twin", "my_entry", "x, acme-twin ,y"])
def test_a_plugin_named_in_the_environment_is_not_imported(
    make_plugin: MakePlugin, monkeypatch: pytest.MonkeyPatch, said: str
) -> None:
    make_plugin("acme-twin", offering("twin"), entry="my_entry")
    monkeypatch.setenv("BNNLAB_DISABLE", said)
    host = PluginHost()
    assert plugin(host, "acme-twin").status is PluginStatus.DISABLED
    assert "acme_twin" not in sys.modules
    with pytest.raises(UsageError, match=r"twin.*comes with acme-twin, which is disabled\."):
        host.resolve(Kind.RULE, "acme-twin/twin")


def test_a_plugin_disabled_in_the_users_registry_is_not_imported(
    make_plugin: MakePlugin, user_config: Path
) -> None:
    make_plugin("acme-twin", offering("twin"))
    (user_config / "registry.toml").write_text('disabled = ["Acme_Twin"]')
    assert plugin(PluginHost(), "acme-twin").status is PluginStatus.DISABLED
    assert "acme_twin" not in sys.modules


def test_a_host_can_be_told_what_to_leave_out(make_plugin: MakePlugin) -> None:
    make_plugin("acme-twin", offering("twin"))
    assert plugin(PluginHost(disabled=["acme_twin"]), "acme-twin").status is PluginStatus.DISABLED


# -------------------------------------------------------------------- broken plugins


@pytest.mark.parametrize(
    ("source", "error"),
    [
        ("raise LookupError", "LookupError"),
        ("raise LookupError('first\\nsecond')", "LookupError: first"),
        (
            "class Odd(BaseException):\n    def __str__(self): raise ValueError\nraise Odd",
            "Odd",
        ),
        (offering("twin", "twin"), "ValueError: offers rule:twin twice"),
        (
            offering("twin", more="@hookimpl\ndef bnnlab_run_startde(config): ...\n"),
            "PluginValidationError: unknown hook 'bnnlab_run_startde'",
        ),
        (
            offering("twin", more="@hookimpl\ndef bnnlab_run_ended(results): ...\n"),
            "PluginValidationError: Plugin 'acme-twin/acme_twin'",
        ),
    ],
    ids=["silent", "two lines", "unprintable", "twice", "misspelt hook", "misspelt argument"],
)
def test_a_broken_plugin_is_kept_with_its_error(
    make_plugin: MakePlugin, source: str, error: str
) -> None:
    make_plugin("acme-twin", source)
    found = plugin(PluginHost(), "acme-twin")
    assert found.status is PluginStatus.BROKEN
    assert found.error is not None
    assert found.error.startswith(error)
    assert found.exception is not None
    assert not found.components


def test_what_pluggy_refuses_halfway_does_not_stay_registered(make_plugin: MakePlugin) -> None:
    misspelt = "@hookimpl\ndef bnnlab_a_misspelt_one(): ...\n"
    wrong = "@hookimpl\ndef bnnlab_run_ended(results): ...\n"
    make_plugin("acme-broken", offering("a", more=misspelt + wrong))
    make_plugin("acme-fine", offering("b"))
    host = PluginHost()
    assert plugin(host, "acme-broken").status is PluginStatus.BROKEN
    assert plugin(host, "acme-fine").status is PluginStatus.OK
    assert plugin(host, "bnnlab-dfa").status is PluginStatus.OK


def test_a_warning_at_import_breaks_nothing(make_plugin: MakePlugin) -> None:
    make_plugin("acme-twin", offering("twin", more="import warnings\nwarnings.warn('old')"))
    assert plugin(PluginHost(), "acme-twin").status is PluginStatus.OK


def test_what_a_plugin_prints_at_import_does_not_reach_standard_output(
    make_plugin: MakePlugin, capsys: pytest.CaptureFixture[str]
) -> None:
    make_plugin("acme-twin", offering("twin", more="print('hello')"))
    assert plugin(PluginHost(), "acme-twin").status is PluginStatus.OK
    assert capsys.readouterr().out == ""


def test_threads_that_import_at_once_leave_standard_output_and_warnings(
    make_plugin: MakePlugin, capsys: pytest.CaptureFixture[str]
) -> None:
    make_plugin("acme", "import time, warnings\nprint('{'); time.sleep(0.1)")
    before = sys.stdout, warnings.showwarning, warnings.filters
    with ThreadPoolExecutor(3) as pool:
        made = [pool.submit(PluginHost) for _ in range(3)]
        time.sleep(0.05)
        sys.stdout.write("of the script")
        assert all(each.result() for each in made)
    assert (sys.stdout, warnings.showwarning, warnings.filters) == before
    assert capsys.readouterr().out == "of the script"


def test_interrupting_is_not_a_broken_plugin(make_plugin: MakePlugin) -> None:
    make_plugin("acme-twin", "raise KeyboardInterrupt")
    with pytest.raises(KeyboardInterrupt):
        PluginHost()


def test_a_component_of_a_broken_plugin_is_named_with_the_cause(make_plugin: MakePlugin) -> None:
    make_plugin("acme-twin", "raise LookupError('no luck')")
    with pytest.raises(
        UsageError, match=r"comes with acme-twin, which is broken: LookupError: no luck\."
    ) as caught:
        PluginHost().resolve(Kind.RULE, "acme-twin/twin")
    assert isinstance(caught.value.__cause__, LookupError)


# -------------------------------------------------------------------- resolving


def test_a_name_that_two_offer_is_refused_only_where_it_is_used(make_plugin: MakePlugin) -> None:
    make_plugin("acme-a", offering("twin", "single"))
    make_plugin("acme-b", offering("twin"))
    host = PluginHost()
    assert host.resolve(Kind.RULE, "single")[0].distribution == "acme-a"
    with pytest.raises(UsageError, match=r"two plugins offer.*acme-a/twin or acme-b/twin\."):
        host.resolve(Kind.RULE, "twin")
    assert host.resolve(Kind.RULE, "acme-b/twin")[0].distribution == "acme-b"
    assert host.resolve(Kind.RULE, "Acme_B/twin")[0].distribution == "acme-b"


def test_a_name_that_two_entry_points_of_a_distribution_offer_can_be_chosen_by_switching_one_off(
    make_plugin: MakePlugin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_plugin("acme", offering("twin"), modules={"acme_more": offering("twin")})
    (info,) = (tmp_path / "site-packages").glob("*.dist-info")
    (info / "entry_points.txt").write_text("[bnnlab.v1]\na = acme\nb = acme_more\n")
    message = "two entry points of acme offer rule 'twin'. .*: BNNLAB_DISABLE=a or BNNLAB_DISABLE=b"
    with pytest.raises(UsageError, match=message):
        PluginHost().resolve(Kind.RULE, "acme/twin")
    monkeypatch.setenv("BNNLAB_DISABLE", "b")
    assert PluginHost().resolve(Kind.RULE, "twin")[0].name == "a"


def test_one_name_may_stand_for_components_of_two_kinds(make_plugin: MakePlugin) -> None:
    make_plugin("acme-a", offering("twin"))
    make_plugin("acme-b", offering("twin", kind="optimizer"))
    host = PluginHost()
    assert host.resolve(Kind.RULE, "twin")[0].distribution == "acme-a"
    assert host.resolve(Kind.OPTIMIZER, "twin")[0].distribution == "acme-b"


def test_a_default_means_the_curated_component_and_not_its_namesake(
    make_plugin: MakePlugin, user_config: Path
) -> None:
    from bnnlab.settings.layers import resolve

    make_plugin("acme-dfa", offering("dfa"))
    (user_config / "registry.toml").write_text("[defaults]\nrule = {scale = 3.0}\n")
    host = PluginHost()
    default = resolve(host, []).choices[Kind.RULE]
    assert (default.plugin.distribution, default.options["scale"]) == ("bnnlab-dfa", 3.0)
    assert resolve(host, [{"rule": {"scale": 2.0}}]).choices[Kind.RULE].options["scale"] == 2.0
    with pytest.raises(UsageError, match="two plugins offer rule 'dfa'"):
        resolve(host, [{"rule": "dfa"}])


def test_a_known_plugin_that_is_missing_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    without = [each for each in find_plugins() if each.distribution != "bnnlab-dfa"]
    monkeypatch.setattr("bnnlab.registry.host.find_plugins", lambda: without)
    host = PluginHost()
    with pytest.raises(NotInstalledError, match=r"To install it: `.*bnn install dfa`"):
        host.resolve(Kind.RULE, "dfa")
    missing = {each.distribution: each.status for each in host.unavailable()}
    assert missing["bnnlab-dfa"] is PluginStatus.AVAILABLE
    assert not missing.keys() & {each.distribution for each in without}


def test_a_typing_error_is_answered_with_the_nearest_name(make_plugin: MakePlugin) -> None:
    make_plugin("acme", offering("three-factor"))
    with pytest.raises(UsageError, match=r"unknown rule .tree-factor.\. Did you mean .three-"):
        PluginHost().resolve(Kind.RULE, "tree-factor")


def test_a_name_is_guessed_only_if_it_is_near() -> None:
    assert did_you_mean("nosuch", ["schema"]) == ""
    assert did_you_mean("rl", ["lr", "m"]) == " Did you mean 'lr'?"


def test_a_name_like_no_other_is_answered_with_all_known_ones() -> None:
    with pytest.raises(UsageError, match=r"unknown rule 'xyzzy'\. Known: .*bp, .*dfa"):
        PluginHost().resolve(Kind.RULE, "xyzzy")


def test_a_distribution_that_is_not_there_is_named() -> None:
    with pytest.raises(UsageError, match="no plugin of 'acme' is installed"):
        PluginHost().resolve(Kind.RULE, "acme/dfa")


def test_a_target_that_does_not_load_names_the_plugin(make_plugin: MakePlugin) -> None:
    make_plugin("acme-twin", offering("twin"))
    host = PluginHost()
    with pytest.raises(
        UsageError,
        match=r"rule 'twin' of acme-twin 1\.0 cannot be loaded: .*No module named 'acme_missing'",
    ):
        host.load(*host.resolve(Kind.RULE, "twin"))


def test_a_target_of_another_kind_is_refused(make_plugin: MakePlugin) -> None:
    from bnnlab import create

    model = create("model", "mlp", input_shape=(4,), classes=2, hidden=[4])
    faults = {
        "class Thing: ...": r"must derive from bnnlab\.LearningRule",
        "Thing = 3": "acme_thing1:Thing: it is no class",
        "def Thing(size=1): ...": "acme_thing2:Thing: it is no class",  # its options are not lost
    }
    for number, (thing, fault) in enumerate(faults.items()):
        name = f"acme{number}"
        source = offering(name).replace("acme_missing", f"acme_thing{number}")
        make_plugin(name, source, modules={f"acme_thing{number}": thing})
        with pytest.raises(UsageError, match=fault):
            create("rule", name, model)


def test_a_method_that_was_forgotten_is_named(make_plugin: MakePlugin) -> None:
    from bnnlab import create

    model = create("model", "mlp", input_shape=(4,), classes=2, hidden=[4])
    thing = "from bnnlab import LearningRule\nclass Thing(LearningRule): ..."
    make_plugin("acme", offering("acme"), modules={"acme_missing": thing})
    with pytest.raises(
        UsageError, match=r"rule:acme of acme has no method \w+: acme_missing:Thing"
    ):
        create("rule", "acme", model)


def test_a_component_says_what_is_wrong_with_it() -> None:
    for wrong, words in (
        ({"name": "Upper"}, "component name 'Upper'"),
        ({"target": "no colon"}, "target 'no colon'"),
        ({"provides": frozenset({"magic"})}, "unknown capability 'magic'"),
    ):
        fields: dict[str, Any] = {"name": "a", "target": "a:B", "summary": "A.", "source": "B."}
        with pytest.raises(ValueError, match=words):
            Component(Kind.RULE, **{**fields, **wrong})
