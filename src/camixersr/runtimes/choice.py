"""Which backend is the fastest here? Measured once for a model, a precision and a machine, then kept.

Every backend that is there enlarges the same piece of a photograph; one whose result is not torch's
(`camixersr.export.parity`) is out. The choice stays until something it depends on changes (the package,
torch, a runtime, the number of threads), so that the same picture gives the same bytes tomorrow.
"""

import json
import os
import platform
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch

from camixersr import __version__
from camixersr.errors import CamixerError
from camixersr.inference.upscaler import Upscaler
from camixersr.nn.routing import TopShare
from camixersr.runtimes import available, engine
from camixersr.runtimes.cache import folder, keep, kept, key

__all__ = ["Choice", "choices", "choose", "known"]

ROUNDS = 3
"""How often the piece is timed, after a round to warm up; the fastest counts."""

PREFIX = "choice-"


@dataclass(frozen=True)
class Choice:
    """What was measured.

    Attributes:
        model: its name.
        device: where.
        precision: in what.
        threads: of torch.
        backend: the fastest.
        microseconds: a low pixel, by backend, at attention ratio 0.5.
        left_out: why a backend was not considered, by its name.
    """

    model: str
    device: str
    precision: str
    threads: int
    backend: str
    microseconds: dict[str, float]
    left_out: dict[str, str]


def _name(upscaler: Upscaler) -> str:
    there = available(upscaler.device)
    return PREFIX + key(
        __version__,
        platform.node(),
        platform.machine(),
        os.cpu_count(),
        torch.get_num_threads(),
        upscaler.device,
        upscaler.precision,
        upscaler.model.sha256 or upscaler.model.name,
        [(each.name, each.version, each.missing) for each in there],
    )


def known(upscaler: Upscaler) -> Choice | None:
    """What was chosen here before; None if nothing was."""
    content = kept(_name(upscaler))
    return None if content is None else Choice(**json.loads(content))


def choices() -> list[Choice]:
    """All that is kept in the cache, also of other models and of versions that were here before."""
    names = sorted(path.name for path in folder().glob(f"{PREFIX}*"))
    return [Choice(**json.loads(content)) for content in map(kept, names) if content is not None]


def choose(
    upscaler: Upscaler, *, again: bool = False, say: Callable[[str], None] = lambda line: None
) -> Choice:
    """The fastest backend for what an upscaler does.

    Args:
        upscaler: of the torch backend: its model, device and precision count.
        again: measure even if it is known.
        say: told, in one line, that it measures.

    Returns:
        The choice, measured now or before.
    """
    if not again and (choice := known(upscaler)) is not None:
        return choice
    from camixersr.export.parity import compare, sample_photo

    say("measuring which backend is the fastest here, once; see `camixersr doctor`")
    photo = sample_photo()
    low = photo.repeat(1, 2, 2)[:, :256, :512].contiguous()[None]
    taken: dict[str, float] = {}
    left_out: dict[str, str] = {}
    for each in available(upscaler.device):
        if each.missing:
            left_out[each.name] = each.missing
        elif each.name == "compile":
            left_out[each.name] = "takes minutes to compile; use it with --backend compile"
        elif upscaler.precision not in each.precisions:
            left_out[each.name] = f"does not compute in {upscaler.precision} here"
        else:
            try:
                runs = engine(
                    upscaler.model, each.name, device=upscaler.device, precision=upscaler.precision
                )
                if runs is not None:
                    parity = compare(runs, upscaler.model, [photo])
                    if not parity.passed:
                        left_out[each.name] = f"its results are {parity}"
                        continue
                taken[each.name] = _time(upscaler, runs, low)
            except (CamixerError, RuntimeError) as error:
                left_out[each.name] = " ".join(str(error).split())
    choice = Choice(
        model=upscaler.model.name,
        device=str(upscaler.device),
        precision=upscaler.precision,
        threads=torch.get_num_threads(),
        backend=min(taken, key=taken.__getitem__),
        microseconds={name: round(1e6 * value, 2) for name, value in taken.items()},
        left_out=left_out,
    )
    keep(_name(upscaler), json.dumps(asdict(choice)).encode())
    return choice


def _time(upscaler: Upscaler, runs: Any, low: torch.Tensor) -> float:
    """Seconds a low pixel."""
    before, upscaler.engine = upscaler.engine, runs
    taken: list[float] = []
    try:
        for _ in range(1 + ROUNDS):
            began = time.perf_counter()
            upscaler.route(low, TopShare(0.5))[0].cpu()
            taken.append(time.perf_counter() - began)
    finally:
        upscaler.engine = before
    return min(taken[1:]) / (low.shape[-2] * low.shape[-1])
