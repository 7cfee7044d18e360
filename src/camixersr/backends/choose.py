"""Backends: who computes the network. `usual` is the one where nobody chooses.

    native       the network in C++, for processors with AVX2 or AVX-512
    torch        the same in torch, prepared for the processor; any device
    compile      the same, through torch.compile (needs a C++ compiler for the CPU)
    onnxruntime  `camixersr.graph` in ONNX Runtime; pip install 'camixersr[onnx]'
    openvino     the same in OpenVINO; pip install 'camixersr[openvino]'

`make` makes one; nothing is set in it afterwards. Nothing beneath this floor knows a runtime's name.
"""

from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Literal, get_args

from camixersr.backends.devices import TORCH
from camixersr.backends.native import Native, why_not_for
from camixersr.backends.protocol import Backend
from camixersr.errors import MissingExtraError, UsageError
from camixersr.extras import install_line
from camixersr.native import core as native
from camixersr.weights import Model

__all__ = [
    "BACKENDS",
    "KINDS",
    "Available",
    "Precision",
    "available",
    "make",
    "require",
    "torch_backend",
    "usual",
]

Precision = Literal["auto", "fp32", "bf16", "fp16"]

BACKENDS = ("torch", "native", "compile", "onnxruntime", "openvino")

ANY = frozenset({"classic", "omni"})

KINDS = {
    "torch": ANY,
    "native": frozenset({"classic"}),
    "compile": ANY,
    "onnxruntime": frozenset({"classic"}),
    "openvino": frozenset({"classic"}),
}
"""Of networks that a backend computes."""

_EXTRAS = {"onnxruntime": ("onnx", ("onnxruntime", "onnx")), "openvino": ("openvino", ("openvino", "onnx"))}
"""Name of the extra, and the distributions that it installs."""


@dataclass(frozen=True)
class Available:
    """A backend on this machine.

    Attributes:
        name: of `BACKENDS`.
        version: of the runtime, or the sets of instructions that compute; empty if it is not there.
        precisions: what it can compute in.
        kinds: of networks that it computes.
        missing: why it cannot be used and what to do, in one line; empty if it can.
    """

    name: str
    version: str
    precisions: tuple[str, ...]
    kinds: frozenset[str]
    missing: str = ""


def _version(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return ""


def _available(name: str, device: str) -> Available:
    if name in ("torch", "compile"):
        reduced = ("bf16", "fp16") if device.startswith("cuda") else ("bf16",)
        missing = "" if TORCH else f"backend {name} needs torch; {install_line('research')}"
        if name == "compile" and TORCH:
            from camixersr.backends.compiled import why_not

            missing = why_not(device)
        return Available(name, TORCH, ("fp32", *reduced), KINDS[name], missing)
    if name == "native":
        paths = {precision: path for precision in native.PATHS if (path := native.path_for(precision))}
        missing = f"backend native is missing: {why}" if (why := native.why_not()) else ""
        if device != "cpu":
            missing = "backend native computes on the CPU only; use --device cpu"
        return Available(name, ", ".join(paths.values()), tuple(paths), KINDS[name], missing)
    extra, distributions = _EXTRAS[name]
    absent = [each for each in distributions if not _version(each)] + ([] if TORCH else ["torch"])
    if absent:
        return Available(
            name,
            "",
            (),
            KINDS[name],
            f"backend {name} needs {' and '.join(absent)}; {install_line(extra)}",
        )
    if device != "cpu":
        why = f"backend {name} computes on the CPU only; use --device cpu"
        return Available(name, _version(name), (), KINDS[name], why)
    if name == "onnxruntime":
        return Available(name, _version(name), ("fp32",), KINDS[name])
    from camixersr.backends.openvino import has_bf16

    return Available(name, _version(name), ("fp32", "bf16") if has_bf16() else ("fp32",), KINDS[name])


def available(device: str = "cpu") -> tuple[Available, ...]:
    """Every backend, with what it can do on a device here and why not.

    Args:
        device: "cpu", "cuda" or "mps".

    Returns:
        One entry each, in the order of `BACKENDS`.
    """
    return tuple(_available(name, device) for name in BACKENDS)


def require(backend: str, *, device: str, precision: str = "auto") -> str:
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
        raise UsageError(f"unknown backend {backend!r}; use auto, fastest or one of {', '.join(BACKENDS)}")
    if precision not in get_args(Precision):
        raise UsageError(f"unknown precision {precision!r}; use one of {', '.join(get_args(Precision))}")
    wanted = "fp32" if precision == "auto" else precision
    if backend == "torch" and TORCH:
        return wanted
    there = _available(backend, device)
    if there.missing:
        raise (MissingExtraError if not there.version else UsageError)(there.missing)
    if wanted not in there.precisions:
        raise UsageError(
            f"backend {backend} computes in {' and '.join(there.precisions)} on this machine, not in "
            f"{wanted}; choose another --precision or --backend"
        )
    return wanted


def usual(model: Model, *, device: str, precision: str = "auto", batched: bool = False) -> str:
    """The backend where nobody chooses one: native where it can compute, else torch.

    Args:
        model: whose network.
        device: where.
        precision: "auto" is fp32.
        batched: several tiles at once are asked for.
    """
    wanted = "fp32" if precision == "auto" else precision
    can = device == "cpu" and not batched and native.path_for(wanted) is not None
    return "native" if can and not why_not_for(model) else "torch"


def torch_backend(model: Model, *, device: str, precision: str, batched: bool = False) -> Backend:
    """The network in torch: prepared for the processor where it can be."""
    from camixersr.backends.plain import Plain
    from camixersr.backends.prepared import KINDS, PRECISIONS, Prepared

    full = None
    if precision != "fp32":
        full = torch_backend(model, device=device, precision="fp32")
    if device == "cpu" and model.config.kind in KINDS and precision in PRECISIONS:
        return Prepared(model, precision, full, batched=batched)
    return Plain(model, device, precision, full)


def make(
    model: Model, backend: str, *, device: str, precision: str = "auto", batched: bool = False
) -> Backend:
    """Make what computes a model on one device.

    Args:
        model: whose network.
        backend: of `BACKENDS`.
        device: where.
        precision: "auto" is fp32.
        batched: several tiles at once are asked for.

    Raises:
        UsageError: an unknown backend, a precision that it does not have here, or another kind of network.
        MissingExtraError: its package is not installed.
        DeviceError: it has no compiler, or does not run on the device.
    """
    wanted = require(backend, device=device, precision=precision)

    def in_torch(precision: str = wanted) -> Backend:
        require("torch", device=device, precision=precision)
        return torch_backend(model, device=device, precision=precision, batched=batched)

    if backend == "native":
        if why := why_not_for(model):
            raise UsageError(
                f"backend native does not compute {why}, as {model.name} has; use --backend torch"
            )
        full = None if wanted == "fp32" else Native(model, "fp32", lambda: in_torch("fp32"))
        return Native(model, wanted, in_torch, full)
    plain = in_torch()
    if backend == "torch":
        return plain
    if backend == "compile":
        from camixersr.backends.compiled import Compiled

        return Compiled(model, device, wanted, plain)
    if model.classes is not None:
        raise UsageError(f"backend {backend} runs no ClassSR such as {model.name}; use --backend torch")
    if model.config.kind not in KINDS[backend]:
        raise UsageError(
            f"backend {backend} does not run {model.name}'s kind of network; use --backend torch"
        )
    if backend == "onnxruntime":
        from camixersr.backends.onnxruntime import OnnxRuntime

        return OnnxRuntime(model, plain)
    from camixersr.backends.openvino import OpenVino

    return OpenVino(model, wanted, plain)
