"""How much memory something takes."""

import gc
from collections.abc import Callable

import torch


def peak_bytes(work: Callable[[], object], device: torch.device | None = None) -> int:
    """Return the most bytes that torch's allocator had given out at once during `work`.

    What was there before is not counted. On a GPU the allocator's statistics tell, elsewhere the
    profiler's record of every allocation on the CPU.
    """
    gc.collect()  # or what others left is freed meanwhile, and counted
    if device is not None and device.type == "cuda":
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        work()
        return torch.cuda.max_memory_allocated(device) - before
    with torch.autograd.profiler.profile(profile_memory=True) as profile:
        work()
    assert profile.kineto_results is not None
    events = [e for e in profile.kineto_results.events() if e.name() == "[memory]"]
    held = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        held += event.nbytes()
        peak = max(peak, held)
    return peak
