"""Programs of `torch.export`, .pt2: torch runs them without bnnlab."""

from collections import Counter
from collections.abc import Callable, Mapping
from io import BytesIO
from pathlib import Path

import torch
from torch import Tensor, nn

compared: int | None = None


def content(network: nn.Module, images: Tensor, about: Mapping[str, str]) -> bytes:
    """Return a file, see `Form`."""
    sizes = ({0: torch.export.Dim("batch")},)
    program = torch.export.export(network, (images,), dynamic_shapes=sizes, strict=False)
    file = BytesIO()
    torch.export.save(program, file, extra_files=dict(about))
    return file.getvalue()


def nodes(content: bytes) -> Mapping[str, int]:
    """Return how many nodes of each operator there are."""
    calls = torch.export.load(BytesIO(content)).graph.nodes
    return Counter(str(each.target) for each in calls if each.op == "call_function")


def load(path: Path) -> Callable[[Tensor], Tensor]:
    """Open a file, see `Form`."""
    run = torch.export.load(BytesIO(path.read_bytes())).module()

    def outputs(images: Tensor) -> Tensor:
        with torch.no_grad():
            found: Tensor = run(images)
        return found

    return outputs
