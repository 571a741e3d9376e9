"""The figures of a result as people read them: names, values and meanings. No torch."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bnnlab.engine.continual import RECENT
from bnnlab.settings.run import KINDS

Rows = list[tuple[str, str, str]]
"""Name, value and meaning of each measure that is a number."""
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


OF_SCORE = frozenset(
    {
        *("accuracy", "untrained_accuracy", "fresh_accuracy", "average_accuracy"),
        *("recent_accuracy", "learning_accuracy", "validation_accuracy", "retention"),
        *("forgetting", "backward_transfer", "forward_transfer", "plasticity"),
    }
)
"""Measures in units of a run's score; their keys keep their names, whatever the score is."""


@dataclass(frozen=True)
class Score:
    """What a run reports per task, as people read it.

    Attributes:
        name: In a sentence and in the names of measures.
        is_share: Whether it is shown in per cent.
    """

    name: str = "accuracy"
    is_share: bool = True

    @property
    def factor(self) -> int:
        """What a number is multiplied by to be shown."""
        return 100 if self.is_share else 1

    @property
    def label(self) -> str:
        """The name with its unit, for an axis or a caption."""
        return f"{self.name} in %" if self.is_share else self.name

    def number(self, value: float, sign: str = "", digits: int = 1) -> str:
        """Return a number without its unit: `43.2` of an accuracy, `0.43` of R2.

        Args:
            value: Of the score, or of a difference of two.
            sign: `+` shows a plus, too.
            digits: After the point, of per cent; other scores have one more.
        """
        return f"{self.factor * value:{sign}z.{digits + (not self.is_share)}f}"

    def text(self, value: float | None) -> str:
        """Return a number with its unit."""
        return "n/a" if value is None else self.number(value) + " %" * self.is_share

    def named(self, text: str) -> str:
        """Return a measure's name or meaning, which says accuracy, with the score's own name."""
        capital = f"{self.name[:1].upper()}{self.name[1:]}"
        return text.replace("accuracy", self.name).replace("Accuracy", capital)


SHARE = Score()
"""Of anything that is shown in per cent."""


def score_of(*results: Mapping[str, Any]) -> Score:
    """Return the score of results, or of anything with their key `score`; accuracy by default.

    Results of several scores have none in common: their numbers are shown as they are.
    """
    names = {str(result.get("score", "accuracy")) for result in results if result}
    shares = [name for name in names if "accuracy" in name]
    if len(shares) == len(names):
        return Score()
    return Score(names.pop() if len(names) == 1 else "score", is_share=False)


def has_one_task(result: Mapping[str, Any]) -> bool:
    """Return whether there is one task only: no matrix, no forgetting and no transfer."""
    return [len(row) for row in result["accuracy"]] == [1]


def heading(result: Mapping[str, Any]) -> str:
    """Say what the numbers of an accuracy matrix are."""
    flips = "% of the binary weights that the task changed" if result["flips"] else "not measured"
    evaluate = result.get("evaluate", "all")
    gaps = "" if evaluate == "all" else f"; -: not measured (evaluate = {evaluate})"
    return f"{result.get('evaluate_on', 'test')} {score_of(result).label}{gaps}; flips: {flips}"


def chosen(count: int, room: int = MOST) -> list[int]:
    """Return the tasks to show: all, or as many as there is room for, evenly chosen."""
    if count <= room:
        return list(range(count))
    return [round(i * (count - 1) / (room - 1)) for i in range(room)]


def head(result: Mapping[str, Any]) -> str:
    """Return what a result is of, and how its run ended, in a line."""
    names = [result["components"].get(kind, {}).get("name", "?") for kind in KINDS]
    about = f"{' + '.join(names)}, seed {result['seed']}: {result['status']}"
    reason = result["stop_reason"]
    return about + (f" by probe {reason}" if reason else "")


def tail(result: Mapping[str, Any], folder: Path | None) -> str:
    """Return what figures of a result belong to, in a line."""
    parts = [f"protocol {result['protocol']}", f"{result['seconds']:.1f} s"]
    return ", ".join([*parts, *([f"folder {folder}"] if folder else [])])


def aligned(rows: Sequence[Sequence[str]], texts: Collection[int] = (0,)) -> str:
    """Return rows as lines of text with columns; those of `texts` are aligned to the left."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if place in texts else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )


def rows(result: Mapping[str, Any], meanings: Mapping[str, str], others: Iterable[str]) -> Rows:
    """Return what people are told of a result.

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


def _of_one_task(result: Mapping[str, Any], meanings: Mapping[str, str]) -> Rows:
    part, score = result.get("evaluate_on", "test"), score_of(result)
    first = {name: (result[name] or [None])[0] for name in ("untrained_accuracy", "flips")}
    shown = [
        (score, score.name, result["average_accuracy"], f"on the {part} part of the task"),
        (score, "untrained", first["untrained_accuracy"], "before any training"),
        (SHARE, "flips", first["flips"], "of the binary weights changed"),
        (score, "plasticity", result["plasticity"], meanings["plasticity"]),
    ]
    return [(name, of.text(it), meaning) for of, name, it, meaning in shown if it is not None]


def _of_the_matrix(result: Mapping[str, Any], meanings: Mapping[str, str]) -> Rows:
    count = len(result["accuracy"])
    names = ["average_accuracy", *["recent_accuracy"] * (count > RECENT)]
    if count > 1:
        names += ["learning_accuracy", "forgetting", "backward_transfer", "forward_transfer"]
    if result["fresh_accuracy"]:
        names.append("plasticity")
    score = score_of(result)
    return [
        (score.named(n.replace("_", " ")), score.text(result[n]), score.named(meanings[n]))
        for n in names
    ]
