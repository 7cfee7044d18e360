"""Peak memory and time of whole `camixersr upscale` processes, watched from outside."""

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from camixersr.errors import CamixerError

__all__ = ["MemoryRow", "watch", "watch_upscale"]


@dataclass(frozen=True, kw_only=True)
class MemoryRow:
    """One run. Fields are those of the JSON file.

    Attributes:
        low_size: width and height, low pixels.
        high_size: the same of the result.
        attention_ratio: gamma, asked for.
        attention_share: that came of it.
        tile: most low pixels a side of a tile, 0 for one piece; None where the picture was held whole.
        peak_memory_bytes: highest resident memory of the process from start to end; what it says
            itself (of the accelerator, where one is used) where the system does not tell.
        told_memory_bytes: what it said itself, measured from the first strip to the last.
        predicted_memory_bytes: what it had said before it began; None where the picture was held whole.
        seconds: wall time of the process.
    """

    low_size: tuple[int, int]
    high_size: tuple[int, int]
    attention_ratio: float
    attention_share: float
    tile: int | None
    peak_memory_bytes: int | None
    told_memory_bytes: int | None
    predicted_memory_bytes: int | None
    seconds: float


def watch(command: Sequence[str]) -> tuple[int | None, float]:
    """Run a program to its end.

    The high-water mark is read every 20 ms, since a program may reset its own.

    Args:
        command: the program and its arguments; what it prints is dropped.

    Returns:
        Peak resident bytes, None where the system does not tell; and seconds.

    Raises:
        CamixerError: it failed; with its last line on stderr.
    """
    began = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        status, peak = Path(f"/proc/{process.pid}/status"), 0
        try:
            while process.poll() is None:
                with suppress(OSError):  # no such system, or just ended
                    marks = [line for line in status.read_text().splitlines() if line.startswith("VmHWM:")]
                    peak = max([peak, *(int(mark.split()[1]) * 1024 for mark in marks)])
                time.sleep(0.02)
        finally:
            process.terminate()  # if this process is told to end, so is that one
        seconds = time.perf_counter() - began
        said = process.stderr.read() if process.stderr is not None else ""
    if process.returncode:
        reason = (said.strip().splitlines() or [f"it ended with {process.returncode}"])[-1]
        raise CamixerError(f"a run of `camixersr upscale` failed: {reason}")
    return peak or None, seconds


def watch_upscale(source: Path, target: Path, options: Sequence[str]) -> MemoryRow:
    """Enlarge a file with the command line, in a process of its own.

    Args:
        source: the picture.
        target: the result.
        options: of `camixersr upscale`, handed on.

    Returns:
        What it took.

    Raises:
        CamixerError: it failed.
    """
    with TemporaryDirectory() as folder:
        facts_file = Path(folder) / "facts.json"
        command = [sys.executable, "-m", "camixersr", "upscale", str(source), "-o", str(target)]
        peak, seconds = watch([*command, "--json", str(facts_file), *options])
        facts = json.loads(facts_file.read_text())
    on_accelerator = facts["device"] != "cpu"
    told = facts["peak_memory_bytes"]
    return MemoryRow(
        low_size=tuple(facts["low_size"]),
        high_size=tuple(facts["high_size"]),
        attention_ratio=facts["attention_ratio"],
        attention_share=facts["attention_share"],
        tile=facts.get("tile"),
        peak_memory_bytes=told if on_accelerator or peak is None else peak,
        told_memory_bytes=told,
        predicted_memory_bytes=facts.get("predicted_memory_bytes"),
        seconds=seconds,
    )
