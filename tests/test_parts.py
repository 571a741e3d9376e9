"""Components that are made of components: settings at any depth, capabilities, makers, runs."""

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import tomli
import tomli_w
from conftest import Bnn
from made_of_parts import PLUGIN

import bnnlab
from bnnlab import Component, Kind, Maker, Option, Part, PluginHost, UsageError
from bnnlab.engine import building
from bnnlab.engine.making import make
from bnnlab.errors import NotInstalledError
from bnnlab.registry.signatures import options_of
from bnnlab.registry.source import read_class
from bnnlab.settings import fit
from bnnlab.settings.fit import check, matrix
from bnnlab.settings.layers import DEEPEST, Layer, resolve
from bnnlab.settings.run import Choice
from bnnlab.settings.schema import run_schema
from bnnlab_testing.pytest_plugin import write_plugin

META = {"name": "around", "factor": 2.0, "base": {"name": "meta", "m": 5.0}}
DEEP = {"name": "ewc", "base": META}
SMALL: dict[str, Any] = {
    "model": {"hidden": [8]},
    "stream": {"name": "permuted-digits", "tasks": 2},
    "rule": "bp",
    "epochs": 1,
    "device": "cpu",
}


@pytest.fixture(scope="module")
def acme(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Install components that are made of others."""
    folder = tmp_path_factory.mktemp("acme")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        write_plugin(folder, "acme-of", PLUGIN)
        yield
    sys.modules.pop("acme_of", None)


@pytest.fixture(scope="module")
def host(acme: None) -> PluginHost:
    return PluginHost()


def inside(host: PluginHost, *layers: Any, path: str = "") -> Choice:
    """Return the optimizer that layers choose, or what lies in it at a path."""
    choice = resolve(host, [*layers]).choices[Kind.OPTIMIZER]
    for name in filter(None, path.split(".")):
        choice = choice.options[name]
    return choice


# -------------------------------------------------------------------- read


def test_a_part_is_read_from_the_source_and_from_the_class(host: PluginHost) -> None:
    plugin, component = host.resolve(Kind.OPTIMIZER, "around")
    assert [*component.options][-1] == Option(
        "base", str, "sgd", "Makes the steps.", part=Part("optimizer", passes=("latent-weights",))
    )
    assert options_of(read_class(component.target), component.options.fixed) == options_of(
        host.load(plugin, component), component.options.fixed
    )


@pytest.mark.parametrize(
    ("kind", "part", "message"),
    [
        ("optimizer", 'Part("optimiser")', "base: Part.'optimiser'.: choose from model, rule, opt"),
        ("optimizer", 'Part("rule", needs=("gradient",))', "unknown capability 'gradient'"),
        ("optimizer", 'Part("rule", passes="gradients")', "needs and refuses are tuples of names"),
        ("optimizer", 'Part("rule", refuses=("gradient",))', "unknown capability 'gradient'"),
        ("optimizer", "Part", r"base: Part needs its kind: write Part\("),
        ("track", 'Part("rule")', "base: a tracker is made of no components"),
    ],
)
def test_a_faulty_part_is_refused_by_its_component(
    make_plugin: Any, kind: str, part: str, message: str
) -> None:
    source = f"""
from typing import Annotated
from bnnlab import Maker, Part

class Thing:
    def __init__(self, *, base: Annotated[Maker | str, {part}] = "bp"): pass
"""
    declared = PLUGIN.partition("    plain")[0] + f'    return [made("{kind}", "x", "Thing")]'
    make_plugin("acme-bad", declared.replace("made_of_parts", "acme_bad_parts"),
                modules={"acme_bad_parts": source})  # fmt: skip
    host = PluginHost()
    with pytest.raises(UsageError, match=f"'x' of acme-bad 1.0 cannot be loaded: .*{message}"):
        host.options(*host.resolve(Kind(kind), "x"))


def test_a_declared_part_with_an_unknown_capability_is_refused() -> None:
    option = Option("base", str, "bp", "", part=Part("rule", needs=("gradient",)))
    with pytest.raises(ValueError, match="unknown capability 'gradient'"):
        Component(Kind.RULE, "x", "acme:X", "", "", options=(option,)).check_parts()


# -------------------------------------------------------------------- settings


@pytest.mark.parametrize(
    "layer",
    [
        {"optimizer": DEEP},
        {"optimizer": {**DEEP, "base": {**META, "base": {"name": "bnnlab-metaplasticity/meta",
                                                         "m": 5}}}},
    ],
)  # fmt: skip
def test_tables_lie_inside_one_another_at_any_depth(host: PluginHost, layer: Any) -> None:
    assert inside(host, layer, path="base").options["factor"] == 2.0
    meta = inside(host, layer, path="base.base")
    assert (meta.component.name, meta.options["m"], meta.options["beta1"]) == ("meta", 5.0, 0.9)


def test_a_name_alone_and_nothing_stand_for_defaults(host: PluginHost) -> None:
    assert inside(host, {"optimizer": {"name": "ewc", "base": "adam"}}, path="base") == inside(
        host, {"optimizer": "adam"}
    )
    usual = inside(host, {"optimizer": "ewc"}, path="base")
    assert usual.name == "bnnlab-backprop/sgd"
    nameless = inside(host, {"optimizer": {"name": "ewc", "base": {"lr": 0.5}}}, path="base")
    assert (nameless.name, nameless.options["lr"]) == ("bnnlab-backprop/sgd", 0.5)


@pytest.mark.parametrize(
    ("stronger", "wanted"),
    [
        ({"base": {"lr": 0.25}}, ("meta", 0.25, 5.0)),
        ({"base": "meta"}, ("meta", 0.5, 5.0)),
        ({"base": {"name": "bnnlab-metaplasticity/meta", "lr": 0.25}}, ("meta", 0.25, 5.0)),
        ({"base": "adam"}, ("adam", 0.001, None)),
        ({"base": {"name": "adam", "lr": 0.1}}, ("adam", 0.1, None)),
        ({"name": "around"}, ("sgd", 0.1, None)),
    ],
)
def test_a_stronger_layer_keeps_the_options_of_the_same_base_alone(
    host: PluginHost, stronger: dict[str, Any], wanted: tuple[str, float, float | None]
) -> None:
    weaker = {"name": "ewc", "base": {"name": "meta", "lr": 0.5, "m": 5.0}}
    base = inside(host, {"optimizer": weaker}, {"optimizer": stronger}, path="base")
    options = base.options
    assert (base.component.name, options["lr"], options.get("m")) == wanted


def test_options_without_a_name_are_kept_when_the_default_is_named(host: PluginHost) -> None:
    layers = [{"optimizer": {"name": "ewc", "base": {"lr": 0.5}}}, {"optimizer": {"base": "sgd"}}]
    assert inside(host, *layers, path="base").options["lr"] == 0.5


WRONG: list[tuple[Any, str]] = [
    ({"base": "sgdd"}, "optimizer.base: unknown optimizer 'sgdd'. Did you mean 'sgd'?"),
    ({"base": 3}, "optimizer.base: 3 is neither a name nor a table with one."),
    ({"base": {"name": 3}}, "optimizer.base: {'name': 3} is neither a name nor a table with one."),
    ({"base": {"momentun": 1}}, "optimizer.base.momentun: no such option of sgd. Did you mean 'mo"),
    ({"base": {"lr": -1}}, "optimizer.base.lr: -1 must be above 0."),
    ({"base": {"lr": "fast"}}, "optimizer.base.lr: 'fast' is not a float."),
    ({"base": "sgd:x"}, "optimizer.base 'sgd' takes no argument: leave out ':x'"),
    ({"base.lr": 1}, "optimizer.base.lr: no such option of ewc. Write base = { lr = ... }, or"),
    (
        {"base": {"name": "around", "base": {"name": "meta", "mm": 1}}},
        "optimizer.base.base.mm: no such option of meta. Did you mean 'm'?",
    ),
    ({"basis": "sgd"}, "optimizer.basis: no such option of ewc. Did you mean 'base'?"),
]


@pytest.mark.parametrize(("options", "message"), WRONG)
def test_what_is_wrong_is_told_with_its_path(
    host: PluginHost, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError) as caught:
        resolve(host, [Layer({"optimizer": {"name": "ewc", **options}}, "my.toml")])
    assert message in str(caught.value)
    assert "It is set in my.toml." in str(caught.value)


def test_all_that_is_wrong_is_told_at_once(host: PluginHost) -> None:
    deep = {"name": "around", "factor": -1, "base": {"name": "meta", "m": "x"}}
    layer = {"epochs": 0, "optimizer": {"name": "ewc", "strength": -1, "base": deep}}
    with pytest.raises(UsageError) as caught:
        resolve(host, [layer])
    for part in ("epochs:", "optimizer.strength:", "optimizer.base.factor:", "base.base.m:"):
        assert part in str(caught.value)


def test_a_base_of_a_disabled_plugin_is_refused_by_name(acme: None) -> None:
    host = PluginHost(disabled=["bnnlab-backprop"])
    wanted = r"optimizer\.base: optimizer 'adam' comes with bnnlab-backprop, which is disabled"
    for start in (
        lambda: bnnlab.run({**SMALL, "rule": "dfa"}, optimizer={"name": "ewc", "base": "adam"},
                           host=host),
        lambda: bnnlab.create("optimizer", "ewc", model(), base="adam", host=host),
    ):  # fmt: skip
        with pytest.raises(UsageError, match=wanted):
            start()
    with pytest.raises(UsageError, match=r"optimizer\.base\.base: optimizer 'sgd' comes with bnn"):
        resolve(host, [{"optimizer": {"name": "ewc", "base": "around"}, "rule": "dfa"}])


def test_a_base_that_is_not_installed_is_refused_with_the_command(
    acme: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bnnlab.registry import host as hosts

    found = [each for each in hosts.find_plugins() if each.distribution != "bnnlab-metaplasticity"]
    monkeypatch.setattr(hosts, "find_plugins", lambda: found)
    with pytest.raises(NotInstalledError) as caught:
        resolve(PluginHost(), [{"optimizer": DEEP}])
    assert caught.value.needs == {"optimizer 'meta'": "bnnlab-metaplasticity"}
    assert "To install it: `" in str(caught.value)


def test_a_base_without_end_is_refused(host: PluginHost) -> None:
    with pytest.raises(UsageError, match=r"base\.base: more than 16 components lie inside one"):
        resolve(host, [{"optimizer": "endless"}])
    itself: dict[str, Any] = {"name": "around"}
    itself["base"] = itself
    with pytest.raises(UsageError, match="more than 16 components"):
        resolve(host, [{"optimizer": itself}])
    layer: Any = "sgd"
    for _ in range(DEEPEST):
        layer = {"name": "around", "base": layer}
    assert sum(1 for _ in inside(host, {"optimizer": layer}).within("")) == DEEPEST + 1


def test_settings_written_as_toml_are_read_again(host: PluginHost) -> None:
    config = resolve(host, [{"optimizer": DEEP}])
    text = tomli_w.dumps(config.as_dict())
    assert "[optimizer.base.base]" in text
    assert resolve(host, [tomli.loads(text)]) == config
    assert config.as_dict()["optimizer"]["base"]["base"]["real_lr"] == "none"


def test_a_rule_has_the_default_model_of_the_rule_that_it_is_made_of(host: PluginHost) -> None:
    def model_of(rule: Any, **more: Any) -> str:
        return resolve(host, [{"rule": rule, **more}]).choices[Kind.MODEL].component.name

    assert model_of("eqprop") == "eqprop-mlp"
    assert model_of({"name": "outer", "base": "eqprop"}) == "eqprop-mlp"
    assert model_of({"name": "outer", "base": {"name": "outer", "base": "eqprop"}}) == "eqprop-mlp"
    assert model_of({"name": "outer", "base": "eqprop"}, model="mlp") == "mlp"
    assert model_of("outer") == "mlp"


def test_the_users_own_defaults_may_be_nested(acme: None, user_config: Path) -> None:
    text = '[defaults.optimizer]\nname = "around"\nbase = { name = "meta", m = 5.0 }\n'
    (user_config / "registry.toml").write_text(text)
    assert inside(PluginHost(), path="base").options["m"] == 5.0
    options = inside(PluginHost(), {"optimizer": {"base": {"lr": 0.25}}}, path="base").options
    assert (options["m"], options["lr"]) == (5.0, 0.25)


def test_the_schema_refers_to_the_kind_of_a_part(host: PluginHost) -> None:
    forms = run_schema(host)["properties"]["optimizer"]["anyOf"]
    (table,) = (each for each in forms if "around" in each.get("properties", {}).get("name", {})
                .get("enum", []))  # fmt: skip
    assert table["properties"]["base"] == {
        "description": "Makes the steps.",
        "default": "sgd",
        "allOf": [{"$ref": "#/properties/optimizer"}],
    }


# -------------------------------------------------------------------- capabilities


def test_what_a_part_requires_the_run_must_provide(host: PluginHost) -> None:
    real = {"model": {"weights": "real"}, "rule": "bp"}
    verdict = check(host, resolve(host, [real, {"optimizer": DEEP}]))
    assert verdict.reasons == (
        "optimizer.base.base=meta requires 'binary-weights' (because of "
        "optimizer.base.base.weights=binary), which model.weights=real does not provide",
    )
    assert "--set optimizer.base.base.weights=real" in verdict.alternatives
    assert "--set model.weights=binary" in verdict.alternatives
    meta = "--set optimizer.base.base=meta --set optimizer.base.base.m=5.0"
    around = f"--set optimizer.base.factor=2.0 {meta}"
    found = " ; ".join(verdict.alternatives)
    assert "--set optimizer.base.base=adam without --set optimizer.base.base.m=5.0" in found
    assert f"--set optimizer.base=sgd without {around}" in found


def test_an_option_of_a_part_may_be_what_does_not_fit(host: PluginHost) -> None:
    outer = {"name": "outer", "base": {"name": "inner", "form": "taught"}}
    verdict = check(host, resolve(host, [{"rule": outer, "optimizer": "sgd"}]))
    assert verdict.reasons == (
        "rule.base=inner requires 'task-ids' (because of rule.base.form=taught)",
    )
    assert "--set rule.base.form=plain" in verdict.alternatives


def test_capabilities_of_a_part_are_passed_on_and_needed(host: PluginHost) -> None:
    def judge(base: Any, optimizer: str) -> Any:
        rule = {"name": "outer", "base": base}
        return check(host, resolve(host, [{"rule": rule, "optimizer": optimizer}]))

    assert judge("inner", "sgd").compatible
    assert judge({"form": "at-draws"}, "bimu").compatible
    refused = judge("inner", "bimu")
    assert refused.reasons == ("optimizer:bimu requires 'reevaluable'",)
    assert "--set rule.base.form=at-draws" in refused.alternatives
    assert "--set rule.base=bp" in refused.alternatives
    bare = judge("bare", "sgd")
    assert "rule.base=bare does not provide 'gradients', which rule:outer needs" in bare.reasons
    assert "--set rule.base=inner" in bare.alternatives
    assert "--set rule.base=bare" not in bare.alternatives


def test_capabilities_of_third_parties_are_passed_on_where_it_is_said(host: PluginHost) -> None:
    def provides(rule: str, base: str) -> frozenset[str]:
        choice = resolve(host, [{"rule": {"name": rule, "base": base}}]).choices[Kind.RULE]
        return choice.capabilities()[0]

    assert "x-acme-parts:odd" in provides("outer", "odd")
    assert "x-acme-parts:odd" not in provides("picky", "odd")
    assert not {name for name in provides("outer", "inner") if name.startswith("x-")}


def test_a_part_may_be_what_the_outer_one_refuses(host: PluginHost) -> None:
    def judge(base: Any) -> Any:
        rule = {"name": "picky", "base": base}
        return check(host, resolve(host, [{"rule": rule, "optimizer": "sgd"}]))

    assert judge("inner").compatible
    refused = judge({"name": "inner", "form": "at-draws"})
    assert refused.reasons == ("rule.base=inner provides 'reevaluable', which rule:picky refuses",)
    assert "--set rule.base.form=plain" in refused.alternatives
    assert "--set rule.base=bare" in refused.alternatives
    assert "--set rule.base=bp" not in refused.alternatives


def test_a_value_may_withhold_what_a_part_passes_on(host: PluginHost) -> None:
    def provides(**options: Any) -> frozenset[str]:
        rule = {"name": "outer", "base": {"name": "picky", **options}}
        choice = resolve(host, [{"rule": rule}]).choices[Kind.RULE].options["base"]
        return choice.capabilities()[0]  # type: ignore[no-any-return]

    assert "any-loss" in provides(base="bp")
    assert "any-loss" not in provides(base="bp", form="narrow")
    assert "any-loss" not in provides()


def test_what_there_is_to_choose_from_is_looked_up_once(
    host: PluginHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = resolve(host, [{"optimizer": DEEP, "model": {"weights": "real"}}])
    filled: list[str] = []
    fill = fit.fill

    def counted(host: PluginHost, plugin: Any, component: Component) -> Choice:
        filled.append(str(component))
        return fill(host, plugin, component)

    monkeypatch.setattr(fit, "fill", counted)
    assert check(host, config).alternatives
    assert len(filled) == len({*filled})


def test_nothing_is_proposed_that_a_constructor_refuses(host: PluginHost) -> None:
    real = {"name": "mlp", "weights": "real"}
    layer = {"rule": "bp", "optimizer": {"name": "ewc", "base": "meta"}, "model": real}
    found = check(host, resolve(host, [layer])).alternatives
    proposed = {each for each in found if each.startswith("--set optimizer.base=")}
    assert proposed == {f"--set optimizer.base={name}" for name in ("adam", "around", "sgd")}


def test_the_matrix_knows_parts(host: PluginHost) -> None:
    choices = resolve(host, []).choices
    found = {
        (rule.component.name, optimizer.component.name): verdict.compatible
        for rule, optimizer, verdict in matrix(host, choices[Kind.MODEL], choices[Kind.STREAM])
    }
    assert found["outer", "around"]
    assert not found["outer", "bimu"]
    assert ("bp", "endless") not in found


# -------------------------------------------------------------------- made


def model() -> bnnlab.Model:
    made: bnnlab.Model = bnnlab.create("model", "mlp", input_shape=(4,), classes=3, hidden=[5])
    return made


def test_create_takes_tables_at_any_depth(host: PluginHost) -> None:
    optimizer = bnnlab.create("optimizer", "ewc", model(), base=META, host=host)
    meta = optimizer.base.base
    assert type(meta).__name__ == "MetaplasticAdam"
    assert optimizer.param_groups is meta.param_groups
    assert optimizer.state is meta.state
    assert {group["factor"] for group in meta.param_groups} == {2.0}


def test_a_maker_makes_from_the_host_that_it_is_given(host: PluginHost) -> None:
    other = PluginHost(disabled=["bnnlab-dfa"])
    choice = resolve(other, [{"rule": "outer"}]).choices[Kind.RULE]
    building.make_rule(other, choice, model(), seed=0)
    maker = Maker(other, choice, "rule.base")
    assert (maker.kind, maker.name, repr(maker)) == ("rule", "outer", "<maker of rule:outer>")
    assert type(maker().base).__name__ == "Inner"


def test_by_hand_a_name_is_looked_up_and_a_maker_is_taken() -> None:
    maker = Maker.of("optimizer", "sgd", lr=0.5)
    assert Maker.of("optimizer", maker) is maker
    made = maker(model(), generator=bnnlab.seeds.generator(0, "x"))
    assert made.param_groups[0]["lr"] == 0.5
    with pytest.raises(UsageError, match=r"unknown optimizer 'sgdd'\. Did you mean 'sgd'"):
        Maker.of("optimizer", "sgdd")
    with pytest.raises(UsageError, match="<maker of optimizer:sgd> is neither the name of a rule"):
        Maker.of("rule", maker)
    with pytest.raises(UsageError, match="3 is neither the name of a rule"):
        Maker.of("rule", 3)  # type: ignore[arg-type]


def test_a_maker_takes_further_options_but_no_second_value() -> None:
    maker = Maker.of("optimizer", "sgd", lr=0.5)
    more = Maker.of("optimizer", maker, momentum=0.25)
    made = more(model(), generator=bnnlab.seeds.generator(0, "x"))
    assert (made.param_groups[0]["lr"], made.param_groups[0]["momentum"]) == (0.5, 0.25)
    Maker.of("optimizer", maker, lr=0.5)
    with pytest.raises(UsageError, match=r"optimizer\.lr is set twice: to 0\.5 and to 0\.25\."):
        Maker.of("optimizer", maker, lr=0.25)
    with pytest.raises(UsageError, match=r"lrr: no such option of sgd"):
        Maker.of("optimizer", maker, lrr=0.25)


def test_what_fails_inside_is_named(make_plugin: Any, acme: None) -> None:
    source = PLUGIN.partition("    plain")[0] + '    return [made("optimizer", "x", "Thing")]'
    fails = "from bnnlab import LatentOptimizer\n\nclass Thing(LatentOptimizer):\n"
    fails += "    def __init__(self, model, *, generator):\n        1 / 0\n"
    fails += "    def update(self, *_): pass\n"
    make_plugin("acme-bad", source.replace("made_of_parts", "acme_bad_parts"),
                modules={"acme_bad_parts": fails})  # fmt: skip
    with pytest.raises(
        UsageError, match=r"optimizer:x of acme-bad failed when it was made at .*Ze"
    ):
        bnnlab.create("optimizer", "around", model(), base="x")


def test_what_is_made_may_change_a_list_that_it_is_given(
    make_plugin: Any, acme: None, tmp_path: Path
) -> None:
    source = PLUGIN.partition("    plain")[0] + '    return [made("rule", "more", "More")]'
    more = "from made_of_parts import Inner\n\nclass More(Inner):\n"
    more += "    def __init__(self, *, scales: list[float] = [1.0]):\n"
    more += "        super().__init__()\n        scales.append(2.0)\n        self.scales = scales\n"
    make_plugin("acme-more", source.replace("made_of_parts", "acme_rules"),
                modules={"acme_rules": more})  # fmt: skip
    found = PluginHost()
    settings = {**SMALL, "rule": "more", "optimizer": "adam", "out": str(tmp_path), "name": "it"}
    config = resolve(found, [settings])
    for _ in range(2):
        rule = bnnlab.create("rule", "more", model(), host=found)
        assert rule.scales == [1.0, 2.0]
        assert make(found, config.choices[Kind.RULE]).scales == [1.0, 2.0]
    assert config.choices[Kind.RULE].options["scales"] == [1.0]


# -------------------------------------------------------------------- runs


@pytest.fixture(scope="module")
def deep(host: PluginHost) -> bnnlab.Result:
    """The result of a run with a base in a base; not to be changed."""
    return bnnlab.run({**SMALL, "optimizer": DEEP}, host=host)


def test_three_levels_are_set_by_command_line_run_file_and_call(
    host: PluginHost, deep: bnnlab.Result, bnn: Bnn, tmp_path: Path
) -> None:
    file = tmp_path / "deep.toml"
    file.write_text(
        'optimizer.name = "ewc"\n[optimizer.base]\nname = "around"\nfactor = 2.0\n'
        '[optimizer.base.base]\nname = "meta"\nm = 5.0\n'
    )
    small = tmp_path / "small.toml"
    small.write_text(tomli_w.dumps(SMALL))
    flags = ("optimizer.base.base.m=5", "optimizer.base.factor=2", "optimizer.base=around",
             "optimizer.base.base=meta")  # fmt: skip
    words = [word for flag in flags for word in ("--set", flag)]
    own = tomli.loads(file.read_text())
    both = tmp_path / "both.toml"
    both.write_text(tomli_w.dumps({**SMALL, **own}))
    out = ("--out", str(tmp_path), "--quiet", "--json", "--name")
    said = bnn("run", "-c", str(small), "--optimizer", "ewc", *words, *out, "flags")
    read = bnn("run", "-c", str(both), *out, "file")
    assert (said.code, read.code) == (0, 0), said.err + read.err
    called = bnnlab.run(SMALL, optimizer="ewc", host=host, set={
        "optimizer.base": {"name": "around", "factor": 2}, "optimizer.base.base.name": "meta",
        "optimizer.base.base.m": 5,
    })  # fmt: skip
    results = [json.loads(each.out) for each in (said, read)] + [called.as_dict()]
    for found in results:
        assert found["accuracy"] == deep.accuracy
        assert found["flips"] == deep.flips
        assert {*found["components"]} == {"model", "rule", "optimizer", "stream"}
    other = bnnlab.run({**SMALL, "optimizer": DEEP}, host=host, set={"optimizer.base.base.m": 1})
    assert other.flips != deep.flips
    assert other.protocol == deep.protocol, "settings of components are no part of it"
    tables = [tomli.loads((tmp_path / name / "run.toml").read_text()) for name in ("flags", "file")]
    assert tables[0]["optimizer"] == tables[1]["optimizer"]
    assert tables[0]["optimizer"]["base"]["base"]["m"] == 5.0


def test_a_run_of_parts_goes_on_bit_for_bit(
    host: PluginHost, deep: bnnlab.Result, tmp_path: Path
) -> None:
    from bnnlab.engine.preparing import prepare
    from bnnlab.settings.text import read_config
    from bnnlab.storage.folder import RunFolder

    config = resolve(host, [{**SMALL, "optimizer": DEEP, "out": str(tmp_path), "name": "it"}])

    def stop(task: int, _epoch: int, step: int, _steps: int) -> None:
        if (task, step) == (1, 3):
            raise KeyboardInterrupt

    run = prepare(host, config)
    assert {
        "acme-of",
        "bnnlab-consolidation",
        "bnnlab-metaplasticity",
    } <= run.origin.versions.keys()
    with pytest.raises(KeyboardInterrupt):
        run.run(stop)
    again = resolve(host, [read_config(tmp_path / "it" / "run.toml")])
    result = prepare(host, again, RunFolder(tmp_path / "it")).run()
    assert (result.accuracy, result.flips) == (deep.accuracy, deep.flips)
    changed = resolve(host, [again.as_dict(), {"optimizer": {"base": {"base": {"m": 2.0}}}}])
    with pytest.raises(UsageError, match=r"does not go with its checkpoint.*\(optimizer\)"):
        prepare(host, changed, RunFolder(tmp_path / "it"))


def test_the_parts_of_a_probe_have_options_at_any_depth(
    host: PluginHost, bnn: Bnn, tmp_path: Path
) -> None:
    small = tmp_path / "small.toml"
    small.write_text(tomli_w.dumps(SMALL))
    out = ("--out", str(tmp_path), "--quiet", "--json", "--name")
    for name, probe in (("short", "watch"), ("whole", "acme-of/watch")):
        word = f"probe.{probe}.base.form=at-draws"
        said = bnn("run", "-c", str(small), "--set", word, *out, name)
        assert said.code == 0, said.err
        assert json.loads(said.out)["watched"] == "at-draws"
        saved = tomli.loads((tmp_path / name / "run.toml").read_text())
        assert saved["probe"]["acme-of/watch"]["base"]["form"] == "at-draws"
    called = bnnlab.run(SMALL, probe="watch", set={"probe.watch.base.form": "taught"}, host=host)
    assert called["watched"] == "taught"
    shown = bnn("info", "probe", "watch", "--set", "probe.watch.base=bare").out
    assert "base: rule bare   from acme-of" in shown


def test_a_file_that_a_part_is_given_is_in_the_protocol(host: PluginHost, tmp_path: Path) -> None:
    file = tmp_path / "note"
    file.write_text("x")
    base = {"name": "around", "note": str(file)}
    choices = resolve(host, [{"optimizer": {"name": "ewc", "base": base}}]).choices
    assert building.digests(choices).keys() == {"optimizer.base.note"}


def test_info_shows_the_options_of_parts_with_their_paths(
    bnn: Bnn, document: Callable[..., Any], acme: None
) -> None:
    answer = bnn("info", "optimizer", "ewc")
    assert "base: optimizer sgd   from bnnlab-backprop" in answer.out
    assert "base.momentum" in answer.out
    words = ("--set", "optimizer.base=around", "--set", "optimizer.base.base=meta")
    answer = bnn("info", "optimizer", "ewc", *words)
    assert "base.base: optimizer meta   from bnnlab-metaplasticity" in answer.out
    assert "base.base.m " in answer.out
    found = document("info", "optimizer", "ewc", *words)
    assert [(each["option"], each["name"]) for each in found["parts"]] == [
        ("base", "acme-of/around"),
        ("base.base", "bnnlab-metaplasticity/meta"),
    ]
    assert "base.base.m" in [each["name"] for each in found["parts"][1]["options"]]
    (base,) = (each for each in found["options"] if each["name"] == "base")
    assert base["type"] == "optimizer"
    rule = bnn("info", "rule", "outer").out
    assert "It must provide gradients." in rule


def test_check_and_a_run_name_the_part_that_does_not_fit(bnn: Bnn, acme: None) -> None:
    words = ("--rule", "bp", "--optimizer", "ewc", "--set", "model.weights=real")
    answer = bnn("check", *words, "--set", "optimizer.base=meta")
    assert answer.code == 1
    assert "optimizer.base=meta requires 'binary-weights'" in answer.out
    assert "--set optimizer.base=" in answer.out
    answer = bnn("run", *words, "--set", "optimizer.base=meta")
    assert answer.code == 2
    assert "these components do not fit together: optimizer.base=meta requires" in answer.err
