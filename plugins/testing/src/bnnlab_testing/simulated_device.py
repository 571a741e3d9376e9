"""An accelerator that nobody needs to own: its tensors hold their values on the CPU.

It refuses what CUDA refuses, and float64, which MPS has not, and counts what makes the host wait:
`device_rules` says what. It takes the place that torch keeps for a private backend and replaces
`torch.Generator`, for the whole life of a process: only a process of its own may register it.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.utils.backend_registration as registration
from torch import Tensor
from torch.nn import Parameter
from torch.utils._python_dispatch import TorchDispatchMode

from bnnlab_testing.device_recording import Recording, expect_no_recording
from bnnlab_testing.device_rules import NAME, DeviceError, check, flat, generators, is_here, note


class UnsupportedError(NotImplementedError):
    """The simulated device cannot do this operation, which a real device may be able to do."""


def unavailable() -> str | None:
    """Return why the device cannot be registered in this process; None if it can."""
    if not hasattr(registration, "_setup_privateuseone_for_python_backend"):
        return f"torch {torch.__version__} takes no private backend that is written in Python"
    taken = torch._C._get_privateuse1_backend_name()
    return None if taken == "privateuseone" else f"torch's private backend is taken by {taken!r}"


@contextmanager
def registered() -> Iterator[torch.device]:
    """Register the device, once in a process, and apply its rules; yield it."""
    registration._setup_privateuseone_for_python_backend(NAME, _Backend())
    torch.__future__.set_swap_module_params_on_conversion(True)  # parameters stay, as with CUDA
    torch.Generator = Generator  # type: ignore[misc]
    kernels = torch.library.Library("aten", "IMPL")  # type: ignore[no-untyped-call]
    # torch.tensor() goes past every mode, and ends here.
    kernels.impl("empty_strided", _empty_strided, "PrivateUse1")  # type: ignore[no-untyped-call]
    kernels.impl("_copy_from", _copy_from, "PrivateUse1")  # type: ignore[no-untyped-call]
    # Under autocast operations do what they do without it.
    every = torch.library.Library("_", "IMPL")  # type: ignore[no-untyped-call]
    plain = torch.library.fallthrough_kernel
    every.fallback(plain, "AutocastPrivateUse1")  # type: ignore[no-untyped-call]
    with _Rules():  # type: ignore[no-untyped-call]
        yield torch.device(NAME, 0)


class _Backend:
    """What torch asks a backend for."""

    def is_available(self) -> bool:
        return True

    def is_initialized(self) -> bool:
        return True

    def _is_in_bad_fork(self) -> bool:
        return False

    def device_count(self) -> int:
        return 1

    def current_device(self) -> int:
        return 0

    def manual_seed_all(self, seed: int) -> None: ...

    def get_rng_state(self, _: Any = None) -> Tensor:
        expect_no_recording()
        return torch.get_rng_state()

    def set_rng_state(self, state: Tensor, _: Any = None) -> None:
        expect_no_recording()
        torch.set_rng_state(state)

    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.bfloat16, torch.float16]


class Generator(torch.Generator):
    """A generator that says on which device it is; all draw on the CPU."""

    def __new__(cls, device: Any = "cpu") -> "Generator":
        """Make a generator for a device."""
        made = super().__new__(cls)
        known = generators.add if torch.device(device).type == NAME else generators.discard
        known(made._cdata)  # type: ignore[attr-defined]
        return made

    def __init__(self, device: Any = "cpu") -> None: ...

    @property
    def device(self) -> torch.device:  # type: ignore[override]
        """Return the device that it draws for."""
        here = self._cdata in generators  # type: ignore[attr-defined]
        return torch.device(NAME, 0) if here else torch.device("cpu")

    def get_state(self) -> Tensor:
        """Return the state, which a generator of another device does not take."""
        expect_no_recording()
        state = super().get_state()
        return torch.cat([state, state[:8]]) if self.device.type == NAME else state

    def set_state(self, state: Tensor) -> "Generator":
        """Restore a state of the same device."""
        expect_no_recording()
        super().set_state(state[:-8] if self.device.type == NAME else state)
        return self


class SimulatedTensor(Tensor):
    """A tensor on the device.

    Attributes:
        held: Its values, on the CPU.
        number: Whether torch made it of a number that is written, as torch 2.11 does in
            `x[mask] = 1.0`; newer versions, and CUDA, are given the number itself.
    """

    held: Tensor
    number: bool = False
    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    @staticmethod
    def __new__(cls, held: Tensor) -> "SimulatedTensor":
        """Put values on the device."""
        if held.layout != torch.strided:
            raise UnsupportedError(f"the simulated device has no tensors of layout {held.layout}")
        if held.dtype in (torch.float64, torch.complex128):
            raise DeviceError(f"{held.dtype} does not exist on every device: MPS has none")
        made = Tensor._make_wrapper_subclass(
            cls,
            held.size(),
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            device=torch.device(NAME, 0),
        )
        made.held = held
        return made

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, operation: Any, _: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Compute on what is held."""
        return _run(operation, args, kwargs or {})

    @property
    def data(self) -> Tensor:
        """Return the same values, unknown to autograd."""
        return self.detach()

    @data.setter
    def data(self, value: Tensor) -> None:
        if not isinstance(value, SimulatedTensor):
            raise DeviceError("the data of a tensor on a device are replaced by some on the CPU")
        Tensor.data.__set__(self, value)  # type: ignore[attr-defined]
        self.held = value.held

    def data_ptr(self) -> int:
        """Return an address that tells tensors apart."""
        return self.held.data_ptr()

    def tolist(self) -> Any:
        """Return a list, which the host waits for."""
        return self.cpu().tolist()

    def numpy(self, **_: Any) -> Any:
        """Refuse, as every device does."""
        raise TypeError(f"a tensor on {self.device} cannot become NumPy's: call .cpu() first")

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        copy = self.detach().clone()
        if isinstance(self, Parameter):
            copy = Parameter(copy)
        memo[id(self)] = copy.requires_grad_(self.requires_grad)
        if self.grad is not None:
            copy.grad = self.grad.clone()
        return copy

    def __reduce_ex__(self, protocol: Any) -> Any:
        copy = self.held.clone()  # what is read from a file is on the CPU
        return copy.__reduce_ex__(protocol)  # type: ignore[no-untyped-call]

    def __format__(self, spec: str) -> str:
        return format(self.cpu(), spec)

    def __repr__(self, **_: Any) -> str:  # type: ignore[override]
        return f"{self.held!r} on {self.device}"


class _Rules(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Sees also the operations that are given no tensor on the device."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # or torch imports its compiler, which takes seconds

    def __torch_dispatch__(self, operation: Any, _: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(operation, args, kwargs or {})


def _run(operation: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """Do an operation on what is held, if a device would do it."""
    given = flat((*args, *kwargs.values()))
    wrappers = {id(each.held): each for each in given if isinstance(each, SimulatedTensor)}
    name, device = operation._schema.name.removeprefix("aten::"), kwargs.get("device")
    here = bool(wrappers) if device is None else device.type == NAME
    if name in ("copy_", "_foreach_copy_"):  # what is written stays where it is
        here = is_here(flat(args[:1])[0])
    check(operation, name, args, kwargs, given, here)
    if not here and not wrappers:
        return operation(*args, **kwargs)

    def wrapped(value: Any) -> Any:
        if not here or not isinstance(value, Tensor):
            return value
        known = wrappers.get(id(value))  # the operation is in place
        if known is None:
            made = SimulatedTensor(value)
            made.number = name == "scalar_tensor"
            return made
        if (known.shape, known.stride()) != (value.shape, value.stride()):
            with torch._C._DisableTorchDispatch():  # the shape outside must change, too
                operation(*args, **kwargs)
        return known

    inner = {key: _map(_held, value) for key, value in kwargs.items()}
    if device is not None:
        inner["device"] = torch.device("cpu")
    outer = _map(_held, args)
    try:
        result = operation(*outer, **inner)
    except NotImplementedError as error:  # a fused kernel, say, that the CPU has not
        raise UnsupportedError(f"the simulated device cannot do this: {error}") from error
    if Recording.current:
        Recording.current.made.append((operation, outer, inner, result))
    return _map(wrapped, result)


def _held(value: Any) -> Any:
    return value.held if isinstance(value, SimulatedTensor) else value


def _map(function: Callable[[Any], Any], value: Any) -> Any:
    """Return what an operation is given or gives, with a function applied to each part."""
    if type(value) in (list, tuple):
        return type(value)([_map(function, each) for each in value])
    return function(value)


def _empty_strided(size: Any, stride: Any, *, dtype: Any = None, **_: Any) -> Tensor:
    return SimulatedTensor(torch.empty_strided(size, stride, dtype=dtype))


def _copy_from(source: Tensor, target: SimulatedTensor, non_blocking: bool = False) -> Tensor:
    if not non_blocking:
        note("tensor")
    target.held.copy_(source)
    return target
