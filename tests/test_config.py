"""Layers of settings become one configuration; what is wrong is told, and how to mend it."""

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pytest
import tomli
import tomli_w

from bnnlab import Kind, Option, PluginHost, UsageError
from bnnlab.registry.components import PARTS
from bnnlab.registry.options import describe_type
from bnnlab.settings.layers import Layer, choose, resolve
from bnnlab.settings.run import RUN_OPTIONS, RunConfig
from bnnlab.settings.schema import run_schema
from bnnlab.settings.text import joined, parse_assignment, parse_value, read_config, written
from bnnlab_testing.pytest_plugin import MakePlugin


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PluginHost]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CONFIG_HOME", str(tmp_path_factory.mktemp("config")))
        patch.delenv("BNNLAB_DISABLE", raising=False)
        yield PluginHost()


def options(config: RunConfig, kind: Kind) -> dict[str, Any]:
    return config.choices[kind].options


def test_without_any_layer_the_registrys_and_the_components_defaults_hold(host: PluginHost) -> None:
    config = resolve(host, [])
    for kind, choice in config.choices.items():
        assert choice.component.name == host.index.defaults[kind]
    assert (config.epochs, config.seed, config.batch_size, config.out) == (5, 0, 100, "runs")
    assert (config.data, config.name) == (None, None)
    for choice in config.choices.values():
        assert choice.options == {o.name: o.default for o in choice.component.options}


def test_the_running_guide_has_a_row_for_every_setting() -> None:
    rows = [
        f"| `{each.name}` | {describe_type(each.type)} | `{written(each.default)}` | {each.help} |"
        for each in RUN_OPTIONS
    ]
    page = (Path(__file__).parents[1] / "docs" / "running.md").read_text(encoding="utf-8")
    table = page.partition("| setting | type | default | meaning |\n|---|---|---|---|\n")[2]
    assert table.partition("\n\n")[0].splitlines() == rows


def test_a_later_layer_comes_before_an_earlier_one(host: PluginHost) -> None:
    file = {"epochs": 5, "seed": 1, "optimizer": {"name": "adam", "lr": 0.5, "beta1": 0.5}}
    config = resolve(host, [file, {"epochs": 7, "optimizer": "adam"}, {"optimizer": {"lr": 0.25}}])
    assert (config.epochs, config.seed) == (7, 1)
    assert options(config, Kind.OPTIMIZER)["lr"] == 0.25
    assert options(config, Kind.OPTIMIZER)["beta1"] == 0.5


def test_a_name_may_carry_an_argument(host: PluginHost, monkeypatch: pytest.MonkeyPatch) -> None:
    plugin, component = host.resolve(Kind.MODEL, "mlp")
    taking = replace(component, argument="norm")
    monkeypatch.setattr(host, "resolve", lambda kind, name: (plugin, taking))
    assert choose(host, Kind.MODEL, "mlp:batch", {}).options["norm"] == "batch"
    assert choose(host, Kind.MODEL, "mlp:batch", {"norm": "batch"}).options["norm"] == "batch"
    with pytest.raises(UsageError, match=r"model\.norm is set twice: to 'batch' .* 'none'"):
        choose(host, Kind.MODEL, "mlp:batch", {"norm": "none"})
    with pytest.raises(UsageError, match=r"model\.norm: 'bath' is not.*'batch'"):
        choose(host, Kind.MODEL, "mlp:bath", {})


def test_an_argument_that_is_not_taken_is_refused(host: PluginHost) -> None:
    with pytest.raises(UsageError, match="model 'mlp' takes no argument: leave out ':x'"):
        resolve(host, [{"model": "mlp:x"}])
    component = replace(host.resolve(Kind.MODEL, "mlp")[1], argument="depth")
    with pytest.raises(UsageError, match="MLP: 'depth' is not one of its options"):
        len(component.options)
    with pytest.raises(ValueError, match="argument 'depth' is not one of its options"):
        replace(component, options=(), argument="depth")


def test_naming_another_component_drops_the_options_of_the_one_before(host: PluginHost) -> None:
    file = {"optimizer": {"name": "adam", "lr": 0.5, "beta1": 0.5}}
    config = resolve(host, [file, {"optimizer": "sgd"}])
    choice = config.choices[Kind.OPTIMIZER]
    assert choice.component.name == "sgd"
    assert choice.options == {o.name: o.default for o in choice.component.options}


def test_another_spelling_of_the_same_component_keeps_its_options(host: PluginHost) -> None:
    file = {"optimizer": {"name": "bnnlab-backprop/adam", "lr": 0.5}}
    config = resolve(host, [file, {"optimizer": "adam"}])
    assert options(config, Kind.OPTIMIZER)["lr"] == 0.5


def test_options_without_a_name_belong_to_the_component_chosen_so_far(host: PluginHost) -> None:
    config = resolve(host, [{"rule": {"scale": 2}}])
    assert config.choices[Kind.RULE].component.name == "dfa"
    assert options(config, Kind.RULE)["scale"] == 2.0


def test_a_component_can_be_named_with_its_distribution(host: PluginHost) -> None:
    config = resolve(host, [{"rule": "bnnlab-backprop/bp", "optimizer": "bnnlab_backprop/sgd"}])
    assert config.choices[Kind.RULE].component.name == "bp"
    assert config.choices[Kind.OPTIMIZER].component.name == "sgd"


def test_a_configuration_written_as_toml_resolves_to_itself(
    host: PluginHost, tmp_path: Path
) -> None:
    layers = [
        {"epochs": 2, "optimizer": {"name": "adam", "lr": 0.3, "latent_clip": "none"}},
        {"model": {"hidden": [3, 4], "norm": "batch"}},
    ]
    first = resolve(host, layers)
    path = tmp_path / "run.toml"
    path.write_text(tomli_w.dumps(first.as_dict()), encoding="utf-8")
    second = resolve(host, [read_config(path)])
    assert second.as_dict() == first.as_dict()
    assert options(second, Kind.OPTIMIZER)["latent_clip"] is None
    assert second == first


def test_a_table_of_a_recipe_about_itself_is_no_setting_of_a_run(host: PluginHost) -> None:
    with pytest.raises(UsageError, match="recipe: no such setting"):
        resolve(host, [{"recipe": {"title": "x"}, "epochs": 3}])


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"rule": "dff"}, "unknown rule 'dff'. Did you mean 'dfa'?"),
    ({"optimizer": {"name": "adm"}}, "unknown optimizer 'adm'. Did you mean 'adam'?"),
    ({"model": "mpl"}, "unknown model 'mpl'. Did you mean 'mlp'?"),
    ({"stream": "permuted-minst"}, "Did you mean 'permuted-mnist'?"),
    ({"rule": 3}, "rule: 3 is neither a name nor a table with one."),
    ({"rule": ["dfa"]}, "rule: ['dfa'] is neither a name nor a table with one."),
    ({"rule": {"name": 5}}, "rule: {'name': 5} is neither a name nor a table with one."),
    ({"optimzer": "adam"}, "optimzer: no such setting. Did you mean 'optimizer'?"),
    ({"sweep": {"seeds": 3}}, "[sweep] is for the command bnn sweep."),
    ({"epoch": 3}, "epoch: no such setting. Did you mean 'epochs'?"),
    ({"probes": ["weights"]}, "probes: no such setting. Did you mean 'probe'?"),
    (
        {"probe": {"weights": {"q": 1}}},
        "probe.weights.q: no such option of weights. There is no option",
    ),
    ({"zzz": 3}, "zzz: no such setting. It takes: epochs, steps, batch_size,"),
    ({"epochs": 0}, "epochs: 0 must be at least 1."),
    ({"epochs": "three"}, "epochs: 'three' is not an int or a list of int."),
    ({"batch_size": -4}, "batch_size: -4 must be at least 1."),
    ({"seed": -1}, "seed: -1 must be at least 0."),
    ({"seed": 1.5}, "seed: 1.5 is not an int."),
    ({"optimizer": {"lr": -1}}, "optimizer.lr: -1 must be above 0."),
    ({"optimizer": {"lr": "fast"}}, "optimizer.lr: 'fast' is not a float."),
    ({"optimizer": {"rl": 1}}, "optimizer.rl: no such option of meta. Did you mean 'lr'?"),
    ({"model": {"hidden": [4, -4]}}, "model.hidden: [4, -4] must be at least 1."),
    ({"model": {"hidden": 512}}, "model.hidden: 512 is not a list of int."),
    ({"model": {"norm": "bach"}}, "Did you mean 'batch'?"),
]


@pytest.mark.parametrize(("layer", "message"), WRONG)
def test_what_is_wrong_is_named_with_what_would_be_right(
    host: PluginHost, layer: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError) as caught:
        resolve(host, [layer])
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2


def test_everything_that_is_wrong_is_told_at_once_in_at_most_two_lines(host: PluginHost) -> None:
    layer = {"epochs": 0, "rule": "dff", "optimizer": {"lr": -1, "q": 2}, "model": {"norm": "x"}}
    with pytest.raises(UsageError) as caught:
        resolve(host, [layer])
    text = str(caught.value)
    for part in ("epochs: 0", "'dff'", "optimizer.lr", "optimizer.q", "model.norm"):
        assert part in text
    assert text.count("\n") <= 1


def test_a_fault_names_the_file_that_set_the_value(host: PluginHost) -> None:
    file = {"epochs": 0, "seed": -1, "rule": {"name": "dfa", "sclae": 1}, "optimizer": "adm"}
    line = {"seed": -2, "rule": {"scael": 1}, "model": 3}
    with pytest.raises(UsageError) as caught:
        resolve(host, [Layer(file, "my.toml"), line])
    assert str(caught.value) == (
        "epochs: 0 must be at least 1. It is set in my.toml. "
        "seed: -2 must be at least 0. "
        "model: 3 is neither a name nor a table with one. "
        "rule.sclae: no such option of dfa. Did you mean 'scale'? It is set in my.toml. "
        "rule.scael: no such option of dfa. Did you mean 'scale'? "
        "unknown optimizer 'adm'. Did you mean 'adam'? It is set in my.toml."
    )


def test_a_broken_components_own_error_stays_the_cause(
    host: PluginHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    failure = UsageError("broken")
    failure.__cause__ = ImportError("no such library")
    plain = host.resolve

    def refuse(kind: Kind, name: str) -> Any:
        if kind is Kind.MODEL:  # the first of the four that are looked up
            raise failure
        return plain(kind, name)

    monkeypatch.setattr(host, "resolve", refuse)
    with pytest.raises(UsageError) as caught:
        resolve(host, [])
    assert caught.value.__cause__ is failure.__cause__


@pytest.mark.parametrize(
    ("text", "layer"),
    [
        ("optimizer.lr=0.005", {"optimizer": {"lr": 0.005}}),
        ("optimizer.lr = 1e-3", {"optimizer": {"lr": 1e-3}}),
        ("model.hidden=[512,512]", {"model": {"hidden": [512, 512]}}),
        ("model.norm=batch", {"model": {"norm": "batch"}}),
        ('model.norm="batch"', {"model": {"norm": "batch"}}),
        ("model.bias=true", {"model": {"bias": True}}),
        ("rule=dfa", {"rule": "dfa"}),
        ("epochs=3", {"epochs": 3}),
        ("data=/a=b", {"data": "/a=b"}),
        ("optimizer.real_lr=none", {"optimizer": {"real_lr": "none"}}),
        ("optimizer.base.base.lr=1", {"optimizer": {"base": {"base": {"lr": 1}}}}),
        ('optimizer.base={name="meta", m=5}', {"optimizer": {"base": {"name": "meta", "m": 5}}}),
    ],
)
def test_an_assignment_becomes_a_layer(text: str, layer: dict[str, Any]) -> None:
    assert parse_assignment(text) == layer


@pytest.mark.parametrize(
    ("texts", "layer"),
    [
        (["rule=bp", "epochs=2", "epochs=2"], {"rule": {"name": "bp"}, "epochs": 2}),
        (["optimizer.lr=1", "optimizer=sgd"], {"optimizer": {"lr": 1, "name": "sgd"}}),
        (["optimizer=sgd", "optimizer.lr=1"], {"optimizer": {"lr": 1, "name": "sgd"}}),
        (["optimizer=3", "optimizer.lr=1"], {"optimizer": {"name": 3, "lr": 1}}),
        (["a.base=x", "a.base.m=1"], {"a": {"base": {"name": "x", "m": 1}}}),
        (["a.base.m=1", "a.base=x"], {"a": {"base": {"name": "x", "m": 1}}}),
        (["a.base={m=1}", "a.base.b.c=2"], {"a": {"base": {"m": 1, "b": {"c": 2}}}}),
        (
            ["probe.a.q=1", "probe.b.q=2", "probe.a.p=3"],
            {"probe": {"a": {"q": 1, "p": 3}, "b": {"q": 2}}},
        ),
        (
            ["probe.a.base.q=1", "probe.a.base=x", "track.soft.py/b.base.q.r=2"],
            {
                "probe": {"a": {"base": {"q": 1, "name": "x"}}},
                "track": {"soft.py/b": {"base": {"q": {"r": 2}}}},
            },
        ),
    ],
)
def test_the_order_of_assignments_does_not_matter(texts: list[str], layer: dict[str, Any]) -> None:
    assert joined(map(parse_assignment, texts)) == layer


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["epochs=1", "epochs=2"], "epochs is set twice: to 1 and to 2. Leave out one of them."),
        (["optimizer.lr=1", "optimizer.lr=2"], "optimizer.lr is set twice: to 1 and to 2."),
        (["rule=bp", "rule.name=dfa"], "rule.name is set twice: to 'bp' and to 'dfa'."),
        (["a.base=x", "a.base.m=1", "a.base=y"], "a.base.name is set twice: to 'x' and to 'y'."),
        (["a.base.m=1", "a.base=2"], "a.base is set twice: to {'m': 1} and to 2."),
        (["probe.a.q=1", "probe.a.q=2"], "probe.a.q is set twice: to 1 and to 2."),
    ],
)
def test_two_values_for_one_setting_are_refused(texts: list[str], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        joined(map(parse_assignment, texts))
    assert message in str(caught.value)


@pytest.mark.parametrize("text", ["optimizer.lr", "", "=3", "optimizer.=3", ".lr=3", "a..c=1"])
def test_what_is_no_assignment_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(UsageError, match=r"write .*KIND\.NAME.*optimizer\.lr"):
        parse_assignment(text)


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "none"), (True, "true"), (1e-4, "0.0001"), ("a", "a"), ([1, "a", True], None)],
)
def test_a_value_that_is_written_is_read_again(value: Any, text: str | None) -> None:
    assert text in (written(value), None)
    assert parse_value(written(value)) == ("none" if value is None else value)


def test_a_value_cannot_smuggle_in_more_toml() -> None:
    assert parse_value("1\nseed = 5") in (1, "1\nseed = 5")
    assert parse_value("") == ""


def test_a_missing_run_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"cannot read .*nothing\.toml: No such file"):
        read_config(tmp_path / "nothing.toml")


def test_a_run_file_that_is_not_toml_is_named_with_the_line(tmp_path: Path) -> None:
    path = tmp_path / "bad.toml"
    path.write_text("epochs = 1\nseed = = 2\n", encoding="utf-8")
    with pytest.raises(UsageError, match=r"bad\.toml is not valid TOML: .*line 2"):
        read_config(path)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match=r"bad\.toml is not valid TOML"):
        read_config(path)


def test_a_run_file_needs_only_what_differs_from_the_defaults(
    host: PluginHost, tmp_path: Path
) -> None:
    path = tmp_path / "run.toml"
    path.write_text('rule = "bp"\n[model]\nhidden = [8]\n', encoding="utf-8")
    config = resolve(host, [read_config(path)])
    assert config.choices[Kind.RULE].component.name == "bp"
    assert options(config, Kind.MODEL)["hidden"] == [8]
    assert tomli.loads(path.read_text(encoding="utf-8"))["rule"] == "bp"


# ------------------------------------------------------------- a rule's own model

PAIR = """
from bnnlab import Component, Kind, Option, hookimpl

def component(kind, name, **more):
    return Component(Kind(kind), name, "acme_missing:Thing", "A thing.", "Nobody, 2020", **more)

@hookimpl
def bnnlab_components():
    return [
        component("rule", "choosy", default_model="its-own", argument="way", options=(
            Option("way", str, "a", "A way."),
        )),
        component("model", "its-own", options=(Option("size", int, 3, "A size."),)),
    ]
"""


def model_of(*layers: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    choice = resolve(PluginHost(), layers).choices[Kind.MODEL]
    return choice.component.name, choice.options


@pytest.mark.parametrize(
    "rule", ["choosy", {"name": "choosy", "way": "b"}, "acme/choosy", "choosy:b"]
)
def test_a_rules_own_model_is_used_where_none_is_named(make_plugin: MakePlugin, rule: Any) -> None:
    make_plugin("acme", PAIR)
    assert model_of({"rule": rule}) == ("its-own", {"size": 3})
    assert model_of({"rule": rule, "model": {"size": 5}}) == ("its-own", {"size": 5})


def test_a_model_that_is_named_comes_before_the_rules_own(
    host: PluginHost, make_plugin: MakePlugin
) -> None:
    make_plugin("acme", PAIR)
    usual = host.index.defaults["model"]
    assert model_of({"rule": "choosy", "model": usual})[0] == usual
    assert model_of({"model": usual}, {"rule": "choosy"})[0] == usual


def test_the_own_model_of_a_rule_that_is_not_used_in_the_end_does_not_count(
    host: PluginHost, make_plugin: MakePlugin
) -> None:
    make_plugin("acme", PAIR)
    usual, rule = host.index.defaults["model"], host.index.defaults["rule"]
    assert model_of()[0] == usual
    assert model_of({"rule": "choosy"}, {"rule": rule})[0] == usual
    assert model_of({"rule": rule}, {"rule": "choosy"}, {"rule": {"way": "b"}})[0] == "its-own"


def test_an_own_model_that_is_not_installed_is_told(make_plugin: MakePlugin) -> None:
    make_plugin("acme", PAIR.replace('"model", "its-own"', '"model", "another"'))
    with pytest.raises(UsageError, match="unknown model 'its-own'"):
        model_of({"rule": "choosy"})


# ------------------------------------------------------------- for editors


def test_the_schema_has_every_setting_and_every_option_of_a_component(host: PluginHost) -> None:
    schema = run_schema(host)
    own = {option.name for option in RUN_OPTIONS}
    others = ("probe", "track", "recipe", "sweep", "engine", "tune", "table", "short")
    assert {*schema["properties"]} == {*PARTS, *own, *others}
    for kind in PARTS:
        tables = {
            table["properties"]["name"]["description"]: {*table["properties"]} - {"name"}
            for table in schema["properties"][kind]["anyOf"]
            if "properties" in table
        }
        assert tables == {
            component.summary: {option.name for option in component.options}
            for _, component in host.components(kind)
        }


@pytest.mark.parametrize(
    ("option", "described"),
    [
        (Option("a", int, 1, "", minimum=1, below=9),
         {"default": 1, "type": "integer", "minimum": 1, "exclusiveMaximum": 9}),
        (Option("a", float | Literal["auto"], 0.5, "", above=0, maximum=2),
         {"default": 0.5, "anyOf": [
             {"type": "number", "exclusiveMinimum": 0, "maximum": 2}, {"enum": ["auto"]}]}),
        (Option("a", list[int] | None, None, "", minimum=1),
         {"default": "none", "anyOf": [
             {"type": "array", "items": {"type": "integer", "minimum": 1}}, {"enum": ["none"]}]}),
        (Option("a", bool, False, ""), {"default": False, "type": "boolean"}),
    ],
)  # fmt: skip
def test_the_schema_describes_the_values_of_an_option(
    option: Option, described: dict[str, Any], host: PluginHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bnnlab.settings.schema.RUN_OPTIONS", (option,))
    assert run_schema(host)["properties"]["a"] == {"description": "", **described}


def test_the_schema_takes_a_component_by_every_spelling(
    host: PluginHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    plugin, component = host.resolve(Kind.MODEL, "mlp")
    taking = replace(component, argument="norm")
    monkeypatch.setattr(host, "components", lambda kind: [(plugin, taking)])
    name, table, nameless = run_schema(host)["properties"]["model"]["anyOf"]
    plain, *with_argument = name["anyOf"]
    assert plain == {"enum": ["mlp", "bnnlab-mlp/mlp"]}
    for spelled, form in zip(("mlp:batch", "bnnlab-mlp/mlp:batch"), with_argument, strict=True):
        assert re.search(form["pattern"], spelled)
    assert table["properties"]["name"] == name
    assert nameless["not"] == {"required": ["name"]}


def test_the_schema_takes_probes_in_every_form_of_a_run_file(host: PluginHost) -> None:
    forms = run_schema(host)["properties"]["probe"]["anyOf"]
    *one, several, tables = forms
    assert {"diagnosis", "weights"} <= {name for form in one for name in form.get("enum", ())}
    assert all("name" in form["properties"] for form in one if "properties" in form)
    assert several == {"type": "array", "items": {"anyOf": one}}
    assert {"diagnosis", "bnnlab-analysis/diagnosis"} <= {*tables["properties"]}


def test_a_recipe_is_a_run_file(tmp_path: Path) -> None:
    recipe = tmp_path / "own.toml"
    recipe.write_text("epochs = 2\n[recipe]\ntitle = 'A run'\n")
    assert read_config(recipe) == {"epochs": 2}
    recipe.write_text("recipe = 'metaplasticity/permuted-mnist'\n")  # a run would not begin with it
    assert read_config(recipe) != {}
