"""Devices by their names, and what they have: memory, threads. torch is asked only where it knows more."""

import contextlib
import os
import sys
from collections.abc import Generator, Sequence
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from camixersr.errors import DeviceError, UsageError

__all__ = [
    "TORCH",
    "device_memory",
    "devices_of",
    "gpus",
    "peak_memory",
    "reset_peak_memory",
    "resident_memory",
    "set_threads",
    "shortage_told",
    "threads",
]


def _torch_version() -> str:
    try:
        return version("torch")
    except PackageNotFoundError:
        return ""


TORCH = _torch_version()
"""Its version; empty where it is not installed."""


@cache
def _may_accelerate() -> bool:
    """Whether torch, as it is installed, was built for more than the processor: that needs no loading."""
    if "torch" in sys.modules or sys.platform == "darwin":
        return bool(TORCH)
    found = find_spec("torch") if TORCH else None
    if found is None or found.origin is None:
        return False
    folder = Path(found.origin).parent / "lib"
    return any(
        (folder / f"{before}torch_{kind}{after}").exists()
        for kind in ("cuda", "hip", "xpu")
        for before, after in (("lib", ".so"), ("", ".dll"))
    )


def devices_of(names: str) -> tuple[str, ...]:
    """The devices of a list of names.

    >>> devices_of("cpu,cpu")
    ('cpu', 'cpu')

    Args:
        names: "cpu", "cuda", "cuda:1", "mps"; several of them, with commas between; "auto", the first
            of cuda, mps and cpu that is there; or "all", every cuda device, or "auto" without one.

    Returns:
        At least one.

    Raises:
        DeviceError: one is not there.
        UsageError: an unknown name.
    """
    there, cuda = ["cpu"], 0
    if _may_accelerate():
        import torch

        cuda = torch.cuda.device_count() if torch.cuda.is_available() else 0
        mps = ["mps"] if torch.backends.mps.is_available() else []
        there = [*(f"cuda:{number}" for number in range(cuda)), *mps, "cpu"]
    if names == "all" and cuda > 1:
        return tuple(there[:cuda])
    if names in ("auto", "all"):
        return (there[0].removesuffix(":0"),)
    found: list[str] = []
    for name in names.split(","):
        kind, _, number = name.partition(":")
        if kind not in ("cpu", "cuda", "mps") or (number and not (kind == "cuda" and number.isdecimal())):
            raise UsageError(
                f"unknown device {name!r}; use auto, cpu, cuda, mps, all, or several such as cuda:0,cuda:1"
            )
        if not any(each in (name, f"{name}:0") for each in there):
            raise DeviceError(
                f"no {name} device on this machine; there is {', '.join(there)}; use --device auto"
            )
        found.append(name)
    return tuple(found)


def gpus() -> list[tuple[str, int]]:
    """The name of every cuda device, and its memory in bytes."""
    if not _may_accelerate():
        return []
    import torch

    found = [torch.cuda.get_device_properties(number) for number in range(torch.cuda.device_count())]
    return [(each.name, each.total_memory) for each in found]


def threads() -> int:
    """How many threads compute on the CPU: torch's, if it is there, or OMP_NUM_THREADS, or one a core."""
    if "torch" in sys.modules:
        import torch

        return torch.get_num_threads()
    asked = os.environ.get("OMP_NUM_THREADS", "").split(",")[0]
    return int(asked) if asked.isdecimal() and int(asked) else _cores()


def _cores() -> int:
    """Processors that this process may use."""
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def set_threads(count: int) -> None:
    """Let so many threads compute, of torch too if it is there."""
    if "torch" in sys.modules:
        import torch

        if count != torch.get_num_threads():
            torch.set_num_threads(count)
    else:
        os.environ["OMP_NUM_THREADS"] = str(count)  # torch asks this when it is loaded


@contextlib.contextmanager
def shortage_told(device: str) -> Generator[None]:
    """Whatever torch or one of its libraries says when memory does not suffice becomes a `MemoryError`."""
    import torch

    try:
        yield
    except (RuntimeError, MemoryError) as error:
        said = str(error).lower()
        short = isinstance(error, torch.OutOfMemoryError | MemoryError) or any(
            words in said
            for words in (
                "out of memory",
                "allocate memory",
                "could not create a memory",  # oneDNN's words
                "could not create a primitive",
            )
        )
        if not short:
            raise
        if device.startswith("cuda"):
            torch.cuda.empty_cache()
        raise MemoryError(str(error)) from error


def device_memory(device: str) -> int | None:
    """All the memory of a cuda device, bytes; None of any other."""
    if not device.startswith("cuda"):
        return None
    import torch

    return torch.cuda.get_device_properties(torch.device(device)).total_memory


def reset_peak_memory(device: str) -> None:
    """Start measuring anew, where the system can."""
    if device.startswith("cuda"):
        import torch

        torch.cuda.reset_peak_memory_stats(device)
    elif sys.platform == "linux":
        with contextlib.suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")


def _status(names: Sequence[str]) -> int | None:
    """The first of these fields of Linux's account of this process, in bytes."""
    with contextlib.suppress(OSError):
        lines = Path("/proc/self/status").read_text().splitlines()
        found = {line.split(":")[0]: int(line.split()[1]) for line in lines if line.endswith(" kB")}
        for name in names:
            if name in found:
                return found[name] * 1024
    return None


def peak_memory(device: str) -> int | None:
    """Highest memory since the reset, bytes: of the accelerator, or resident of this process."""
    if device.startswith("cuda"):
        import torch

        return torch.cuda.max_memory_allocated(device)
    if (peak := _status(["VmHWM"])) is not None:
        return peak
    try:
        import resource
    except ImportError:  # Windows
        return None
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def resident_memory(device: str) -> int:
    """Memory held now, bytes; 0 where the system does not tell."""
    if device.startswith("cuda"):
        import torch

        return torch.cuda.memory_allocated(device)
    return _status(["VmRSS"]) or 0
