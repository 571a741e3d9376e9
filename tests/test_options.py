"""Values are checked against declared types, and a refusal says what to type."""

from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest

from bnnlab import Option, UsageError
from bnnlab.registry.options import check_value, check_values, describe_type, per_layer

ACCEPTED: list[tuple[Any, Any, Any]] = [
    (int, 3, 3),
    (float, 3, 3.0),
    (float, 0.5, 0.5),
    (bool, True, True),
    (str, "x", "x"),
    (str | None, "none", None),
    (str | None, None, None),
    (float | None, "none", None),
    (float | None, 2, 2.0),
    (list[int], [1, 2], [1, 2]),
    (list[int], (1, 2), [1, 2]),
    (list[int], [], []),
    (list[float], [1, 0.5], [1.0, 0.5]),
    (list[str], ["a"], ["a"]),
    (Literal["a", "b"], "b", "b"),
    (Literal[1, 2], 2, 2),
    (float | list[float] | Literal["auto"], "auto", "auto"),
    (float | list[float] | Literal["auto"], [1, 2], [1.0, 2.0]),
    (float | list[float] | Literal["auto"], 1, 1.0),
    (str, Path("a") / "b", str(Path("a", "b"))),
    (str | None, Path("none"), "none"),
    (list[str], [Path("a"), "b"], ["a", "b"]),
    (int, np.int64(3), 3),
    (float, np.float32(0.5), 0.5),
    (list[int], [np.uint8(3)], [3]),
]


@pytest.mark.parametrize(("kind", "given", "wanted"), ACCEPTED)
def test_a_value_of_the_type_is_taken_in_that_type(kind: Any, given: Any, wanted: Any) -> None:
    found = check_value(Option("x", kind, None, ""), given)
    assert found == wanted
    assert type(found) is type(wanted)


REFUSED: list[tuple[Any, Any, str]] = [
    (int, 1.5, "1.5 is not an int"),
    (int, True, "True is not an int"),
    (int, np.bool_(True), "is not an int"),
    (int, np.float64(3), "is not an int"),
    (int, "3", "'3' is not an int"),
    (int, "none", "'none' is not an int"),
    (float, "fast", "'fast' is not a float"),
    (float, False, "False is not a float"),
    (float, float("nan"), "nan is not a finite number"),
    (float, float("inf"), "inf is not a finite number"),
    (bool, 1, "1 is not a bool"),
    (str, 1, "1 is not a str"),
    (list[int], 5, "5 is not a list of int"),
    (list[int], [1, "a"], "is not a list of int"),
    (list[int], "12", "'12' is not a list of int"),
    (float | None, "nil", "'nil' is not a float or 'none'"),
    (Literal["a", "b"], "c", "'c' is not 'a' or 'b'"),
    (Literal[1, 2], True, "True is not 1 or 2"),
    (float | list[float] | Literal["auto"], "x", "'x' is not a float or a list of float or 'auto'"),
    (int, {"a": 1}, "is not an int"),
]


@pytest.mark.parametrize(("kind", "given", "message"), REFUSED)
def test_another_value_is_refused_with_what_is_wanted(kind: Any, given: Any, message: str) -> None:
    with pytest.raises(ValueError, match="kind.x: ") as caught:  # noqa: RUF043
        check_value(Option("x", kind, None, ""), given, "kind.")
    assert message in str(caught.value)


def test_the_nearest_literal_is_named() -> None:
    option = Option("norm", Literal["batch", "layer", "none"] | None, "batch", "")
    with pytest.raises(ValueError, match=r"'bach' is not .*\. Did you mean 'batch'\?"):
        check_value(option, "bach")


RANGES: list[tuple[Option, Any, str]] = [
    (Option("x", int, 1, "", minimum=1), 0, "x: 0 must be at least 1."),
    (Option("x", int, 1, "", below=2**31), 2**31, "x: 2147483648 must be below 2147483648."),
    (Option("x", float, 1.0, "", above=0), 0.0, "x: 0.0 must be above 0."),
    (Option("x", float, 1.0, "", maximum=0.5), 0.6, "x: 0.6 must be at most 0.5."),
    (Option("x", list[int], [1], "", minimum=1), [3, 0], "x: [3, 0] must be at least 1."),
    (Option("x", float | None, 1.0, "", above=0), -1, "x: -1 must be above 0."),
    (
        Option("x", list[list[int]], [], "", below=3),
        [[1], [2, 3]],
        "x: [[1], [2, 3]] must be below 3.",
    ),
]


@pytest.mark.parametrize(("option", "value", "message"), RANGES)
def test_a_value_out_of_range_is_refused_with_the_bound(
    option: Option, value: Any, message: str
) -> None:
    with pytest.raises(ValueError, match="must be") as caught:
        check_value(option, value)
    assert str(caught.value) == message


def test_a_bound_itself_is_in_range_and_none_has_no_range() -> None:
    assert check_value(Option("x", float, 1.0, "", minimum=1, maximum=1), 1) == 1
    assert check_value(Option("x", float | None, 1.0, "", above=0), "none") is None


def test_all_faults_are_told_at_once_and_defaults_are_filled_in() -> None:
    options = (Option("lr", float, 0.1, ""), Option("steps", int, 5, ""), Option("on", bool, 1, ""))
    values, faults = check_values(options, {"lr": "x", "step": 3, "on": False}, "optimizer.")
    assert values == {"steps": 5, "on": False}
    assert faults == [
        "optimizer.step: no such option. Did you mean 'steps'?",
        "optimizer.lr: 'x' is not a float.",
    ]


def test_an_unknown_option_without_a_near_one_is_answered_with_all_there_are() -> None:
    _, faults = check_values((Option("lr", float, 0.1, ""), Option("m", float, 1.0, "")), {"q": 1})
    assert faults == ["q: no such option. It takes: lr, m."]
    _, faults = check_values((), {"q": 1})
    assert faults == ["q: no such option. There is no option to set."]


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (int, "int"),
        (None, "'none'"),
        (list[int], "list of int"),
        (Literal["a", "b"], "'a' or 'b'"),
        (
            float | list[float] | Literal["auto"] | None,
            "float or list of float or 'auto' or 'none'",
        ),
    ],
)
def test_a_type_is_described_as_people_write_it(kind: Any, text: str) -> None:
    assert describe_type(kind) == text


def test_one_value_is_for_all_layers_and_a_list_has_one_for_each() -> None:
    assert per_layer("x", 3, 2) == [3, 3]
    assert per_layer("x", [3, 5], 2) == [3, 5]
    assert per_layer("x", (3, 5), 2) == [3, 5]
    assert per_layer("x", "auto", 2) == ["auto", "auto"]
    assert per_layer("x", None, 1) == [None]
    assert per_layer("x", 3, 0) == []


def test_the_list_of_layers_is_not_the_one_that_was_given() -> None:
    given = [1, 2]
    per_layer("x", given, 2).append(3)
    assert given == [1, 2]


@pytest.mark.parametrize(
    ("value", "layers", "what", "message"),
    [
        ([1, 2, 3], 2, "layer", "model.size: 3 values, [1, 2, 3], for 2 layers. Give one value"),
        ((1, 2), 1, "block", "model.size: 2 values, [1, 2], for 1 block. Give one value"),
        ([], 4, "block", "for 4 blocks. Give one value for all, or one for each block from input"),
    ],
)
def test_another_number_of_values_is_refused_with_both(
    value: Any, layers: int, what: str, message: str
) -> None:
    with pytest.raises(UsageError) as caught:
        per_layer("model.size", value, layers, what)
    assert message in str(caught.value)


def test_text_that_reads_as_something_else_is_asked_for_in_quotes() -> None:
    with pytest.raises(ValueError, match=r"1 is not a str\..*--set 'folder=\"\.\.\.\"'"):
        check_value(Option("folder", str, "", "A folder."), 1)


def test_a_path_is_made_absolute_where_it_was_typed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "inner").mkdir()
    monkeypatch.chdir(tmp_path / "inner")
    option = Option("folder", str, "", "A folder.", path=True)
    assert check_value(option, "../runs") == str(tmp_path.resolve() / "runs")
    assert check_value(option, "") == ""
    with pytest.raises(ValueError, match="folder: '~nobody-here/x'"):
        check_value(option, "~nobody-here/x")
