"""The figures of a result as people read them: names, values and meanings. No torch."""

from collections.abc import Iterable, Mapping
from typing import Any

from bnnlab.engine.continual import RECENT

MOST = 10
"""Tasks that are shown of an accuracy matrix."""
_UNCERTAINTY = {
    "nll": ("NLL", "negative log-likelihood, nats"),
    "brier": ("Brier score", "0 is perfect, 2 the worst"),
    "ece": ("ECE", "mean of |accuracy - confidence|"),
    "aleatoric": ("aleatoric", "mean entropy of each draw, bits"),
    "epistemic": ("epistemic", "disagreement of the draws, bits"),
    "ood_auroc": ("OOD AUROC", "out-of-distribution detection; 0.5 is chance"),
}


def has_one_task(result: Mapping[str, Any]) -> bool:
    """Return whether there is one task only: no matrix, no forgetting and no transfer."""
    return [len(row) for row in result["accuracy"]] == [1]


def heading(result: Mapping[str, Any]) -> str:
    """Say what the numbers of an accuracy matrix are."""
    flips = "% of the binary weights that the task changed" if result["flips"] else "not measured"
    return f"{result.get('evaluate_on', 'test')} accuracy in %; flips: {flips}"


def chosen(count: int, room: int = MOST) -> list[int]:
    """Return the tasks to show: all, or as many as there is room for, evenly chosen."""
    if count <= room:
        return list(range(count))
    return [round(i * (count - 1) / (room - 1)) for i in range(room)]


def rows(
    result: Mapping[str, Any], meanings: Mapping[str, str], others: Iterable[str]
) -> list[tuple[str, str, str]]:
    """Return name, value and meaning of each measure that is a number.

    Args:
        result: What result.json holds, with all of the core's measures.
        meanings: Of these, by name.
        others: Names of the measures that the core does not know.
    """
    found = result["uncertainty"]
    make = _of_one_task if has_one_task(result) else _of_the_matrix
    return [
        *make(result, meanings),
        *((n, f"{result[n]:.4g}", "") for n in others if isinstance(result[n], int | float)),
        *(
            (name, f"{found[key]:.3f}", meaning)
            for key, (name, meaning) in _UNCERTAINTY.items()
            if key in found
        ),
    ]


def _of_one_task(
    result: Mapping[str, Any], meanings: Mapping[str, str]
) -> list[tuple[str, str, str]]:
    part = result.get("evaluate_on", "test")
    shares = [
        ("accuracy", result["average_accuracy"], f"on the {part} part of the task"),
        ("untrained", next(iter(result["untrained_accuracy"] or ()), None), "before any training"),
        ("flips", next(iter(result["flips"] or ()), None), "of the binary weights changed"),
        ("plasticity", result["plasticity"], meanings["plasticity"]),
    ]
    return [(name, _percent(it), meaning) for name, it, meaning in shares if it is not None]


def _of_the_matrix(
    result: Mapping[str, Any], meanings: Mapping[str, str]
) -> list[tuple[str, str, str]]:
    count = len(result["accuracy"])
    names = ["average_accuracy", *["recent_accuracy"] * (count > RECENT)]
    if count > 1:
        names += ["learning_accuracy", "forgetting", "backward_transfer", "forward_transfer"]
    if result["fresh_accuracy"]:
        names.append("plasticity")
    return [(n.replace("_", " "), _percent(result[n]), meanings[n]) for n in names]


def _percent(share: float | None) -> str:
    return "n/a" if share is None else f"{100 * share:.1f} %"
