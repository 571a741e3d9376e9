"""What a run says becomes values of TensorBoard's summaries, built with its own protobufs."""

import struct
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any

from tensorboard.compat.proto.summary_pb2 import HistogramProto, Summary, SummaryMetadata
from tensorboard.compat.proto.tensor_pb2 import TensorProto
from tensorboard.compat.proto.types_pb2 import DT_STRING
from tensorboard.plugins.hparams import metadata, plugin_data_pb2
from tensorboard.plugins.hparams.api_pb2 import Status

from bnnlab_tracking.showing import QUANTILES, histogram
from bnnlab_tracking.tracker import Line

Value = Summary.Value
TEXT = "lines"
"""The tag of each line as text."""
ELSEWHERE = ("event", "layers", "task", "epoch", "step", "time", "seconds")
"""Keys of a line that have no chart of their own; the text has them all."""


def of_line(line: Line) -> Iterator[Any]:
    """Yield scalars and histograms of a line of metrics.jsonl."""
    event = line["event"]
    plain = {key: it for key, it in line.items() if key not in ELSEWHERE}
    if event == "evaluation":
        accuracy = {f"task {place}": it for place, it in enumerate(plain.pop("accuracy"), 1)}
        yield from (scalar(f"accuracy/{name}", value) for name, value in numbers(accuracy))
    yield from (scalar(f"{event}/{name}", value) for name, value in numbers(plain))
    for layer in line["layers"] if event == "weights" else ():
        yield from _of_layer(layer)


def numbers(place: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """Yield the names and values of all numbers, those of inner mappings and lists too."""
    for name, value in place.items():
        if isinstance(value, list):
            value = {str(number): inner for number, inner in enumerate(value, 1)}
        if isinstance(value, Mapping):
            yield from ((f"{name}/{inner}", it) for inner, it in numbers(value))
        elif isinstance(value, int | float):
            yield name, float(value)


def scalar(tag: str, value: float) -> Any:
    """Return a number."""
    return Value(tag=tag, simple_value=value)


def text(tag: str, content: str) -> Any:
    """Return a text."""
    kind = SummaryMetadata(plugin_data=SummaryMetadata.PluginData(plugin_name="text"))
    tensor = TensorProto(dtype=DT_STRING, string_val=[content.encode()])
    return Value(tag=tag, metadata=kind, tensor=tensor)


def image(tag: str, png: bytes) -> Any:
    """Return a picture; the head of a PNG file says its size."""
    width, height = struct.unpack(">II", png[16:24])
    shown = Summary.Image(height=height, width=width, colorspace=3, encoded_image_string=png)
    return Value(tag=tag, image=shown)


def _of_layer(layer: Mapping[str, Any]) -> Iterator[Any]:
    name = layer["name"]
    yield from (scalar(f"flips/{it}", value) for it, value in numbers({name: layer["flips"]}))
    if layer["latent"] is not None:
        yield Value(tag=f"latent/{name}", histo=_histogram(layer["latent"]))
    for word, value in zip(QUANTILES, layer["scale"] or (), strict=False):
        yield from (scalar(f"scale/{it}", v) for it, v in numbers({f"{name}/{word}": value}))


def _histogram(latent: Mapping[str, Any]) -> Any:
    """Return a histogram; its sums are those of the bins' centres."""
    counts, edges = histogram(latent)
    centres = [(low + high) / 2 for low, high in pairwise(edges)]
    return HistogramProto(
        min=edges[0],
        max=edges[-1],
        num=sum(counts),
        sum=sum(n * at for n, at in zip(counts, centres, strict=True)),
        sum_squares=sum(n * at * at for n, at in zip(counts, centres, strict=True)),
        bucket_limit=edges[1:],
        bucket=counts,
    )


def session(settings: Mapping[str, Any], name: str) -> Iterator[Any]:
    """Yield what the tab HPARAMS reads: the settings of a run that is complete."""
    begun = plugin_data_pb2.SessionStartInfo(group_name=name)
    for key, value in _leaves(settings):
        if isinstance(value, bool):
            begun.hparams[key].bool_value = value
        elif isinstance(value, int | float):
            begun.hparams[key].number_value = value
        else:
            begun.hparams[key].string_value = str(value)
    ended = plugin_data_pb2.SessionEndInfo(status=Status.STATUS_SUCCESS)
    for tag, about in (
        (metadata.SESSION_START_INFO_TAG, {"session_start_info": begun}),
        (metadata.SESSION_END_INFO_TAG, {"session_end_info": ended}),
    ):
        data = plugin_data_pb2.HParamsPluginData(version=metadata.PLUGIN_DATA_VERSION, **about)
        kind = metadata.create_summary_metadata(data)
        yield Value(tag=tag, metadata=kind, tensor=metadata.NULL_TENSOR)


def _leaves(place: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in place.items():
        if isinstance(value, Mapping):
            yield from ((f"{name}.{inner}", it) for inner, it in _leaves(value))
        else:
            yield name, value
