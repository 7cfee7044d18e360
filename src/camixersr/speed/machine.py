"""What a measurement was made on: figures without their machine mean nothing."""

import os
import platform
import re
import subprocess
import sys
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from camixersr.backends.devices import gpus, threads

if TYPE_CHECKING:
    import torch

__all__ = ["available_memory", "describe", "slug"]

FEATURES = (
    "avx2", "avx_vnni", "avx512f", "avx512_bf16", "avx512_fp16", "avx512_vnni", "amx_bf16", "amx_int8",
    "asimd", "bf16", "i8mm", "sve",
)  # fmt: skip
"""What a processor may have that matters here, as Linux names it."""

PACKAGES = ("torch", "numpy", "onnxruntime", "openvino", "pyvips")


def _cpu() -> tuple[str, list[str]]:
    """The processor's name, and what it has of `FEATURES` (as far as the system tells)."""
    if sys.platform == "linux":
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
        name = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
        flags = re.search(r"^(?:flags|Features)\s*:\s*(.+)$", text, re.MULTILINE)
        has = set(flags[1].split()) if flags else set[str]()
        return name[1].strip() if name else platform.machine(), [each for each in FEATURES if each in has]
    if sys.platform == "darwin":
        asked = subprocess.run(
            ["/usr/sbin/sysctl", "-n", "machdep.cpu.brand_string"], capture_output=True, text=True
        )
        return asked.stdout.strip() or platform.machine(), []
    return platform.processor() or platform.machine(), []


def _memory() -> int | None:
    """Bytes of memory that are built in; None where the system does not tell."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # Windows
        return None


def available_memory(device: "torch.device") -> int | None:
    """Bytes that a program could still take on a device; None where the system does not tell."""
    if device.type == "cuda":
        import torch

        return torch.cuda.mem_get_info(device)[0]
    try:
        text = Path("/proc/meminfo").read_text()
    except OSError:
        return None
    found = re.search(r"^MemAvailable:\s+(\d+) kB", text, re.MULTILINE)
    return int(found[1]) * 1024 if found else None


def _cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def describe() -> dict[str, Any]:
    """The machine, the versions and the time, for a JSON file.

    Returns:
        `machine`: `cpu`, `features`, `cores` (of the machine), `usable_cores`, `threads` (that compute),
        `memory_bytes`, `gpus` (each `name`, `memory_bytes`); `versions`; `date` (UTC).
    """
    name, features = _cpu()
    versions = {"camixersr": metadata.version("camixersr"), "python": platform.python_version()}
    for each in PACKAGES:
        try:
            versions[each] = metadata.version(each)
        except metadata.PackageNotFoundError:
            continue
    versions["system"] = platform.system()
    return {
        "machine": {
            "cpu": name,
            "features": features,
            "architecture": platform.machine(),
            "cores": os.cpu_count(),
            "usable_cores": _cores(),
            "threads": threads(),
            "memory_bytes": _memory(),
            "gpus": [{"name": name, "memory_bytes": size} for name, size in gpus()],
        },
        "versions": versions,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def slug(facts: dict[str, Any]) -> str:
    """A short name of a machine that `describe` described, for file names.

    >>> slug({"machine": {"cpu": "AMD EPYC 9B14", "usable_cores": 2, "gpus": []}})
    'amd-epyc-9b14-2-cores'
    """
    machine = facts["machine"]
    parts = [machine["cpu"], f"{machine['usable_cores']} cores", *(gpu["name"] for gpu in machine["gpus"])]
    return re.sub(r"[^a-z0-9]+", "-", " ".join(parts).lower().replace("(r)", "")).strip("-")
