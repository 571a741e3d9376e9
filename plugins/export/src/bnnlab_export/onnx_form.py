"""Graphs of ONNX, standard operators alone, as `torch.onnx` records them."""

import warnings
from collections import Counter
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

PRODUCER = "bnnlab-export"
compared: int | None = None


def content(network: nn.Module, images: Tensor, about: Mapping[str, str]) -> bytes:
    """Return a file, see `Form`."""
    return bytes(recorded(network, images, about).SerializeToString())


def recorded(network: nn.Module, images: Tensor, about: Mapping[str, str]) -> Any:
    """Return the graph, an `onnx.ModelProto`, with batches of any size."""
    import onnx

    sizes = ({0: torch.export.Dim("batch")},)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what the exporter says of its own code
        made: Any = torch.onnx.export(
            network,
            (images,),
            dynamo=True,
            verbose=False,
            dynamic_shapes=sizes,
            input_names=["images"],
            output_names=["outputs"],
        )
    graph = made.model_proto
    graph.producer_name, graph.producer_version = PRODUCER, version(PRODUCER)
    onnx.helper.set_model_props(graph, dict(about))
    onnx.checker.check_model(graph, full_check=True)
    return graph


def nodes(content: bytes) -> Mapping[str, int]:
    """Return how many nodes of each operator there are."""
    import onnx

    return Counter(each.op_type for each in onnx.load_from_string(content).graph.node)


def load(path: Path) -> Callable[[Tensor], Tensor]:
    """Open a file in ONNX Runtime, see `Form`."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(path, options)

    def outputs(images: Tensor) -> Tensor:
        return torch.from_numpy(session.run(None, {"images": images.numpy()})[0])

    return outputs
