"""A line of metrics.jsonl becomes a record of W&B's history."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from bnnlab_tracking.showing import QUANTILES, histogram
from bnnlab_tracking.tracker import Line

Histogram = Callable[..., Any]
"""`wandb.Histogram`."""

AXES: Mapping[str, str] = {
    "epoch/*": "epoch/step",
    "evaluation/*": "evaluation/task",
    "weights/*": "weights/task",
    "accuracy/*": "evaluation/task",
    "latent/*": "weights/task",
    "flips/*": "weights/task",
    "scale/*": "weights/task",
}
"""What charts are drawn over."""


def record(line: Line, made: Histogram) -> dict[str, Any]:
    """Return a record: `event`, each other value as `EVENT/KEY`, and what charts need.

    W&B drops an empty mapping: it is written as the text `{}`.
    """
    event = str(line["event"])
    plain = {f"{event}/{key}": _kept(value) for key, value in line.items() if key != "event"}
    time = {"_timestamp": line["time"]}  # when it was measured, and not when it is sent
    return {"event": event, **time, **plain, **dict(_charts(line, made))}


def _kept(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _kept(inner) for key, inner in value.items()} or "{}"
    return value


def _charts(line: Line, made: Histogram) -> Iterator[tuple[str, Any]]:
    if line["event"] == "weights":
        for layer in line["layers"]:
            yield from _layer(layer, made)
    if line["event"] == "evaluation":
        found = enumerate(line["accuracy"], 1)
        yield from ((f"accuracy/task {n}", it) for n, it in found if it is not None)


def _layer(layer: Mapping[str, Any], made: Histogram) -> Iterator[tuple[str, Any]]:
    name = layer["name"]
    yield f"flips/{name}", layer["flips"]
    if layer["latent"] is not None:
        yield f"latent/{name}", made(np_histogram=histogram(layer["latent"]))
    if layer["scale"] is not None:
        for word, value in zip(QUANTILES, layer["scale"], strict=True):
            yield f"scale/{name}/{word}", value
