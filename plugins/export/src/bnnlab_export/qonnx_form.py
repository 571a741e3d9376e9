"""Graphs of QONNX, for FINN: binary weights and signs are nodes `BipolarQuant`.

FINN takes batches of one, and float32 that is said to hold whole numbers of 8 bits.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bnnlab.errors import UsageError
from bnnlab.interfaces.signs import binary_parameters
from bnnlab_export import onnx_form

DOMAIN = "qonnx.custom_op.general"
ONE = "one"
BATCH = 100
compared: int | None = 2 * BATCH
nodes = onnx_form.nodes


def content(network: nn.Module, images: Tensor, about: Mapping[str, str]) -> bytes:
    """Return a file, see `Form`.

    Raises:
        UsageError: If a binary weight is not that of a linear layer or a convolution.
    """
    from qonnx.core.datatype import DataType
    from qonnx.core.modelwrapper import ModelWrapper
    from qonnx.util.cleanup import cleanup_model

    graph = onnx_form.recorded(network, images.float(), about)
    binary, found = binary_parameters(network), quantise(graph)
    if found < len(binary):
        raise UsageError(
            f"qonnx: of {len(binary)} binary weights, {found} are those of linear layers and "
            f"convolutions; there is no node for others. Binary are {', '.join(binary)}."
        )
    wrapped = cleanup_model(ModelWrapper(graph), override_inpsize=1)
    if images.dtype == torch.uint8:
        wrapped.set_tensor_datatype(wrapped.graph.input[0].name, DataType["UINT8"])
    return bytes(wrapped.model.SerializeToString())


def load(path: Path) -> Callable[[Tensor], Tensor]:
    """Open a file in qonnx's own executor, see `Form`."""
    from qonnx.core.modelwrapper import ModelWrapper
    from qonnx.core.onnx_exec import execute_onnx
    from qonnx.transformation.change_batchsize import ChangeBatchSize
    from qonnx.transformation.infer_shapes import InferShapes

    wrapped = ModelWrapper(str(path))
    given, made = wrapped.graph.input[0].name, wrapped.graph.output[0].name

    def outputs(images: Tensor) -> Tensor:
        found = []
        for piece in torch.split(images.float(), BATCH):
            model = wrapped.transform(ChangeBatchSize(len(piece))).transform(InferShapes())
            found.append(execute_onnx(model, {given: piece.numpy()})[made])
        return torch.from_numpy(np.concatenate(found))

    return outputs


def quantise(model: Any) -> int:
    """Put nodes `BipolarQuant` into a graph, and return how many weights are behind one.

    What `interfaces.signs` and `nn.binary_layer` compute in a graph that leaves torch is taken out:
    the clamped x + 1/x of a sign, and the clamped sums.
    """
    from onnx import helper, numpy_helper

    graph = model.graph
    stored = {each.name: each for each in graph.initializer}
    makers = {name: each for each in graph.node for name in each.output}
    layers = [each for each in graph.node if _is_binary(each, stored)]
    sums = {each.output[0] for each in layers}
    for node in graph.node:
        if node.op_type == "Clip" and node.input[0] in sums:
            makers[node.input[0]].output[0], node.output[0] = node.output[0], "unread"
        elif node.op_type == "Clip" and (x := _of_sign(makers.get(node.input[0]), makers)):
            _become(node, "BipolarQuant", x, ONE)
    weights = {each.input[1]: each.op_type == "Gemm" for each in layers}
    for node in layers:
        x, weight = node.input
        if node.op_type == "Gemm":  # weights (outputs, inputs), which FINN does not take
            _become(node, "MatMul", x, f"{weight}_signs")
        node.input[1] = f"{weight}_signs"
    for name, turned in weights.items():
        values = numpy_helper.to_array(stored[name])
        stored[name].CopyFrom(numpy_helper.from_array(values.T.copy() if turned else values, name))
        signs = helper.make_node("BipolarQuant", [name, ONE], [f"{name}_signs"], domain=DOMAIN)
        graph.node.insert(0, signs)
    _keep_what_is_read(graph)
    graph.ClearField("value_info")  # shapes, which are found anew
    graph.initializer.append(numpy_helper.from_array(np.array(1, np.float32), ONE))
    model.opset_import.append(helper.make_opsetid(DOMAIN, 1))
    return len(weights)


def _keep_what_is_read(graph: Any) -> None:
    read = {each.name for each in graph.output}
    kept: list[Any] = []
    for node in reversed(graph.node):
        if read & {*node.output}:
            read |= {*node.input}
            kept.insert(0, node)
    graph.ClearField("node")
    graph.node.extend(kept)


def _become(node: Any, operator: str, *inputs: str) -> None:
    node.op_type, node.domain = operator, DOMAIN if operator == "BipolarQuant" else ""
    node.ClearField("attribute")
    node.ClearField("input")
    node.input.extend(inputs)


def _is_binary(node: Any, stored: Mapping[str, Any]) -> bool:
    """Return whether a node is a layer with weights -1 and +1, and no bias of its own."""
    from onnx import numpy_helper

    if node.op_type not in ("Conv", "Gemm", "MatMul") or len(node.input) != 2:
        return False
    if node.input[1] not in stored:
        return False
    return bool((np.abs(numpy_helper.to_array(stored[node.input[1]])) == 1).all())


def _of_sign(node: Any, makers: Mapping[str, Any]) -> str:
    """Return x if a node adds x and 1/x."""
    if node is None or node.op_type != "Add":
        return ""
    x, other = node.input
    inverse = makers.get(other)
    return str(x) if inverse and inverse.op_type == "Reciprocal" and inverse.input[0] == x else ""
