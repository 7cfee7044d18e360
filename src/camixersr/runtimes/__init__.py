"""Backends: who computes the network. torch is always there; the others are extras.

    torch        the network of this package, prepared for the processor; any device
    compile      the same, through torch.compile (needs a C++ compiler for the CPU)
    onnxruntime  `camixersr.export.graph` in ONNX Runtime; pip install 'camixersr[onnx]'
    openvino     the same in OpenVINO; pip install 'camixersr[openvino]'

`upscaler` makes an `Upscaler` that uses one. Nothing beneath this floor knows a runtime's name.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from typing import Literal, get_args

import torch

from camixersr.errors import MissingExtraError, UsageError
from camixersr.extras import install_line
from camixersr.inference.engine import Engine
from camixersr.inference.upscaler import Precision, Upscaler
from camixersr.weights import Model

__all__ = ["BACKENDS", "Backend", "available", "engine", "require", "upscaler"]

BACKENDS = ("torch", "compile", "onnxruntime", "openvino")

_EXTRAS = {"onnxruntime": ("onnx", ("onnxruntime", "onnx")), "openvino": ("openvino", ("openvino", "onnx"))}
"""Name of the extra, and the distributions that it installs."""


@dataclass(frozen=True)
class Backend:
    """A backend on this machine.

    Attributes:
        name: of `BACKENDS`.
        version: of the runtime; empty if it is not there.
        precisions: what it can compute in.
        missing: why it cannot be used and what to do, in one line; empty if it can.
    """

    name: str
    version: str
    precisions: tuple[str, ...]
    missing: str = ""


def _version(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return ""


def _backend(name: str, device: torch.device) -> Backend:
    if name in ("torch", "compile"):
        reduced = ("bf16", "fp16") if device.type == "cuda" else ("bf16",)
        missing = ""
        if name == "compile":
            from camixersr.runtimes.compiled import why_not

            missing = why_not(device)
        return Backend(name, torch.__version__, ("fp32", *reduced), missing)
    extra, distributions = _EXTRAS[name]
    absent = [each for each in distributions if not _version(each)]
    if absent:
        return Backend(
            name,
            "",
            (),
            f"backend {name} needs {' and '.join(absent)}; {install_line(extra)}",
        )
    if device.type != "cpu":
        return Backend(
            name, _version(name), (), f"backend {name} computes on the CPU only; use --device cpu"
        )
    if name == "onnxruntime":
        return Backend(name, _version(name), ("fp32",))
    from camixersr.runtimes.openvino import has_bf16

    return Backend(name, _version(name), ("fp32", "bf16") if has_bf16() else ("fp32",))


def available(device: str | torch.device = "cpu") -> tuple[Backend, ...]:
    """Every backend, with what it can do on a device here and why not.

    Args:
        device: "cpu", "cuda" or "mps".

    Returns:
        One entry each, in the order of `BACKENDS`.
    """
    return tuple(_backend(name, torch.device(device)) for name in BACKENDS)


def require(backend: str, *, device: torch.device, precision: str = "auto") -> str:
    """Refuse a backend that is not to be had here, before there is a model.

    Args:
        backend: of `BACKENDS`.
        device: where.
        precision: "auto" is fp32.

    Returns:
        The precision.

    Raises:
        UsageError: an unknown backend, or a precision that it does not have here.
        MissingExtraError: its package is not installed.
    """
    if backend not in BACKENDS:
        raise UsageError(f"unknown backend {backend!r}; use auto or one of {', '.join(BACKENDS)}")
    if precision not in get_args(Precision):
        raise UsageError(f"unknown precision {precision!r}; use one of {', '.join(get_args(Precision))}")
    wanted = "fp32" if precision == "auto" else precision
    if backend == "torch":
        return wanted
    there = _backend(backend, device)
    if there.missing:
        raise (MissingExtraError if not there.version else UsageError)(there.missing)
    if wanted not in there.precisions:
        raise UsageError(
            f"backend {backend} computes in {' and '.join(there.precisions)} on this machine, not in "
            f"{wanted}; choose another --precision or --backend"
        )
    return wanted


def engine(model: Model, backend: str, *, device: torch.device, precision: str = "auto") -> Engine | None:
    """What computes for an `Upscaler`; None is the torch network.

    Args:
        model: whose network.
        backend: of `BACKENDS`.
        device: where.
        precision: "auto" is fp32.

    Raises:
        UsageError: an unknown backend, a precision that it does not have here, or a ClassSR for a graph.
        MissingExtraError: its package is not installed.
        DeviceError: it has no compiler, or does not run on the device.
    """
    wanted = require(backend, device=device, precision=precision)
    if backend == "torch":
        return None
    if backend == "compile":
        from camixersr.runtimes.compiled import Compiled

        return Compiled(model, device, wanted)
    if model.classes is not None:
        raise UsageError(f"backend {backend} runs no ClassSR such as {model.name}; use --backend torch")
    if backend == "onnxruntime":
        from camixersr.runtimes.onnxruntime import OnnxRuntime

        return OnnxRuntime(model)
    from camixersr.runtimes.openvino import OpenVino

    return OpenVino(model, wanted)


def upscaler(
    model: Model,
    *,
    backend: str = "torch",
    device: str = "auto",
    precision: str = "auto",
    tile: int | Literal["auto"] = "auto",
    batch: int | Literal["auto"] = "auto",
    say: Callable[[str], None] = lambda line: None,
    progress: Callable[[float, float], None] = lambda done, total: None,
) -> Upscaler:
    """Make an upscaler that computes with a backend.

    Args:
        model: what to compute.
        backend: of `BACKENDS`, or "auto": the fastest here, see `camixersr.runtimes.choice`.
        device: as for `Upscaler`.
        precision: as for `Upscaler`.
        tile: as for `Upscaler`.
        batch: as for `Upscaler`.
        say: told, in a line each, if backends are measured now, and what came of it.
        progress: told meanwhile how many seconds that has taken, and how many it takes at most.

    Returns:
        The upscaler.

    Raises:
        CamixerError: as for `engine` and `Upscaler`.
    """
    result = Upscaler(model, device=device, precision=precision, tile=tile, batch=batch)
    if backend == "auto":
        from camixersr.runtimes.choice import choose

        backend = choose(result, say=say, progress=progress).backend
    result.engine = engine(model, backend, device=result.device, precision=precision)
    result.make_engine = partial(_engine, backend, precision)
    return result


def _engine(backend: str, precision: str, model: Model, device: torch.device) -> Engine | None:
    return engine(model, backend, device=device, precision=precision)
