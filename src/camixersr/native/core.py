"""The core through ctypes: arrays in, arrays out."""

import contextlib
import ctypes
import os
import signal
import threading
from collections.abc import Callable, Generator, Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from camixersr.errors import DeviceError, MemoryLimitError
from camixersr.native.build import HERE, LIBRARY, digest
from camixersr.native.fold import Shape, fold

__all__ = [
    "FORCE",
    "PATHS",
    "WINDOW",
    "Answer",
    "Core",
    "Pool",
    "Thresholds",
    "fits",
    "path_for",
    "why_not",
]

Array = NDArray[np.float32]

PATHS = {"fp32": ("avx512", "avx2"), "bf16": ("amx", "avx512_bf16")}
"""Sets of instructions, by precision, the best first."""

FORCE = "CAMIXERSR_NATIVE"
"""An environment variable that names the only path to use in the precision that it computes in; "off" for
none at all."""

SHAPE = ("channels", "scale", "latitude", "keys", "values", "hidden")
"""What the core is told of a network, beside what follows from it."""

WIDEST = 64
"""Most channels, keys and values."""

WINDOW = 16
CONDITIONS = 4


class Thresholds(NamedTuple):
    """From which log-odds every block attends windows.

    Attributes:
        least: one a block; -inf attends all, inf none.
        bands: how much above that a window is attended in full; 0 is a step.
    """

    least: Sequence[float]
    bands: Sequence[float]


Choose = Callable[[Array, int], NDArray[Any]]
"""From N log-odds and a block's number to N numbers, 0 to 1 or bool: what is attended."""


class Pool(NamedTuple):
    """What channel attention knows of the picture.

    Attributes:
        cells: of the windows, h x w, the number of the cell that each belongs to, from 0, all numbers
            there; None for one cell, the whole picture.
        given: blocks x hints, means that take the place of the picture's own.
    """

    cells: NDArray[np.integer[Any]] | None = None
    given: Array | None = None

    @classmethod
    def even(cls, side: int, height: int, width: int, before: tuple[int, int] = (0, 0)) -> "Pool":
        """Over square cells.

        Args:
            side: of the cells, in pixels, a multiple of 16; 0 is the whole picture.
            height: of the picture, in pixels.
            width: of the picture, in pixels.
            before: rows and columns of the first cells that lie before the picture, multiples of 16.
        """
        if not side:
            return cls()
        assert side % WINDOW == before[0] % WINDOW == before[1] % WINDOW == 0
        down, across = (
            (first + np.arange(0, length, WINDOW)) // side
            for first, length in zip(before, (height, width), strict=True)
        )
        return cls(down[:, None] * (across[-1] + 1) + across)


class Answer(NamedTuple):
    """What was computed.

    Attributes:
        high: 3 x sH x sW, nominally in [0, 1], not clamped.
        logits: blocks x N, log-odds of attention.
        mask: blocks x N, what was attended, 0 to 1.
        means: blocks x hints, the predictor's features, on average over the picture.
    """

    high: Array
    logits: Array
    mask: Array
    means: Array


class _Shape(ctypes.Structure):
    _fields_ = tuple((name, ctypes.c_int32) for name in (*SHAPE, "hints", "offsets", "groups"))


_Choose = ctypes.CFUNCTYPE(
    ctypes.c_int32, ctypes.c_int32, ctypes.POINTER(ctypes.c_float), ctypes.POINTER(ctypes.c_float)
)


class _Picture(ctypes.Structure):
    _fields_ = (
        ("height", ctypes.c_int32),
        ("width", ctypes.c_int32),
        ("low", ctypes.c_void_p),
        ("planes", ctypes.c_int32),
        ("cells", ctypes.c_int32),
        ("cell_of", ctypes.c_void_p),
        ("pooled", ctypes.c_void_p),
        ("choose", _Choose),
        ("thresholds", ctypes.c_void_p),
        ("bands", ctypes.c_void_p),
        ("threads", ctypes.c_int32),
        ("high", ctypes.c_void_p),
        ("logits", ctypes.c_void_p),
        ("mask", ctypes.c_void_p),
        ("means", ctypes.c_void_p),
    )


@cache
def _library() -> ctypes.CDLL | None:
    """The compiled core; None if there is none that fits these sources."""
    try:
        library = ctypes.CDLL(str(HERE / LIBRARY))
    except OSError:
        return None
    library.camixer_version.restype = ctypes.c_char_p
    if library.camixer_version().decode() != digest():
        return None
    library.camixer_has.argtypes = [ctypes.c_char_p]
    library.camixer_create.argtypes = [ctypes.c_char_p] + [ctypes.c_void_p] * 3
    library.camixer_create.restype = ctypes.c_void_p
    library.camixer_destroy.argtypes = [ctypes.c_void_p]
    library.camixer_destroy.restype = None
    library.camixer_run.argtypes = [ctypes.c_void_p] * 2
    return library


def path_for(precision: str) -> str | None:
    """The set of instructions that computes in a precision here.

    Args:
        precision: "fp32" or "bf16".

    Returns:
        One of `PATHS`; None if the core is not there, or the processor has none, or `FORCE` says so.
    """
    library, forced = _library(), os.environ.get(FORCE, "")
    paths = PATHS.get(precision, ())
    if forced in paths:
        paths = (forced,)
    elif forced and not any(forced in others for others in PATHS.values()):
        paths = ()  # "off"; a path of bf16 leaves fp32 as it is: what overflows is computed again in it
    there = [path for path in paths if library is not None and library.camixer_has(path.encode())]
    return there[0] if there else None


def why_not() -> str:
    """Why the core does not compute here, in one line; empty if it does."""
    if path_for("fp32") or path_for("bf16"):
        return ""
    if forced := os.environ.get(FORCE):
        return f"the native core has no path {forced!r} here, which {FORCE} asks for"
    if _library() is not None:
        return "the native core needs a processor with AVX2 and FMA"
    return "the native core is not built; `python -m camixersr.native` builds it"


def fits(config: Shape) -> bool:
    """Whether the core computes networks of this shape."""
    return (
        config.window == WINDOW
        and max(config.channels, config.keys, config.values) <= WIDEST
        and config.pool % WINDOW == 0
    )


class Core:
    """A network in the core.

    Args:
        config: its shape, which `fits`.
        weights: its tensors by name.
        precision: "fp32" or "bf16".

    Raises:
        DeviceError: no path computes in that precision here.
        MemoryLimitError: the memory does not suffice.
    """

    def __init__(self, config: Shape, weights: Mapping[str, NDArray[Any]], *, precision: str) -> None:
        library, path = _library(), path_for(precision)
        if library is None or path is None:
            forced = f", with {FORCE}={os.environ[FORCE]}" if os.environ.get(FORCE) else ""
            raise DeviceError(
                why_not() or f"the native core does not compute in {precision} on this processor{forced}"
            )
        self.path = path
        self.config = config
        self.blocks = sum(config.blocks)
        inputs = config.channels + CONDITIONS
        self.hints = inputs // 4
        shape = _Shape(
            config.channels,
            config.scale,
            config.latitude,
            config.keys or config.channels,
            config.values or config.channels,
            config.hidden or config.channels,
            self.hints,
            inputs // 8,
            len(config.blocks),
        )
        numbers = fold(config, weights)
        groups = (ctypes.c_int32 * len(config.blocks))(*config.blocks)
        self._library = library
        self._network = library.camixer_create(
            path.encode(), ctypes.byref(shape), groups, numbers.ctypes.data
        )
        if not self._network:
            raise MemoryLimitError("the memory does not suffice for the network")

    def __del__(self) -> None:
        if getattr(self, "_network", None):
            self._library.camixer_destroy(self._network)

    def __call__(
        self, low: Array, route: Thresholds | Choose, *, pool: Pool | None = None, threads: int = 1
    ) -> Answer:
        """Compute a picture.

        Args:
            low: 3 x H x W float32 in [0, 1], any H and W from 1; of a network with latitude 4 planes,
                the last one the cosine of the latitude, or 3 for the equator.
            route: which windows are attended. What it raises ends the computation, and is raised here.
            pool: what channel attention knows; by default the network's own cells.
            threads: how many compute; they change nothing in the result.

        Returns:
            The enlargement, and what was decided.

        Raises:
            MemoryLimitError: the memory does not suffice.
        """
        low = np.ascontiguousarray(low, np.float32)
        planes, height, width = low.shape
        assert planes == 3 or (planes == 4 and self.config.latitude)
        pool = Pool.even(self.config.pool, height, width) if pool is None else pool
        windows, s = (-(-height // WINDOW), -(-width // WINDOW)), self.config.scale
        N = windows[0] * windows[1]
        answer = Answer(
            np.empty((3, s * height, s * width), np.float32),
            np.empty((self.blocks, N), np.float32),
            np.empty((self.blocks, N), np.float32),
            np.empty((self.blocks, self.hints), np.float32),
        )
        picture = _Picture(height=height, width=width, low=low.ctypes.data, planes=planes, threads=threads)
        cells = (
            np.zeros(windows, np.int32) if pool.cells is None else pool.cells.astype(np.int32, order="C")
        )
        assert cells.shape == windows
        assert cells.min() >= 0
        picture.cells, picture.cell_of = int(cells.max()) + 1, cells.ctypes.data
        held: list[Any] = []  # what the core reads must live as long as it computes

        def address(values: Any, *shape: int) -> int:
            held.append(np.ascontiguousarray(values, np.float32))
            assert held[-1].shape == shape
            return held[-1].ctypes.data

        if pool.given is not None:
            picture.pooled = address(pool.given, self.blocks, self.hints)
        raised: list[BaseException] = []
        if isinstance(route, Thresholds):
            picture.thresholds = address(route.least, self.blocks)
            picture.bands = address(route.bands, self.blocks)
        else:

            def choose(block: int, logits: Any, mask: Any) -> int:
                try:
                    chosen = route(np.ctypeslib.as_array(logits, (N,)).copy(), block)
                    np.ctypeslib.as_array(mask, (N,))[:] = chosen
                except BaseException as error:  # noqa: BLE001  it is raised again, once the core is left
                    raised.append(error)
                    return 1
                return 0

            picture.choose = _Choose(choose)
        for name, array in zip(("high", "logits", "mask", "means"), answer, strict=True):
            setattr(picture, name, array.ctypes.data)
        with contextlib.nullcontext() if isinstance(route, Thresholds) else _signals_later():
            failed = self._library.camixer_run(self._network, ctypes.byref(picture))
        if raised:
            raise raised[0]
        if failed:
            raise MemoryLimitError(
                f"out of memory for {width} x {height} pixels of the input at once; take a smaller tile"
            )
        return answer


@contextlib.contextmanager
def _signals_later() -> Generator[None]:
    """Let handlers of signals wait until C has returned.

    They run, and may raise, wherever the main thread executes Python. In a callback ctypes would lose what
    they raise, and the process would not end.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    missed: list[tuple[int, Any]] = []

    def remember(number: int, frame: Any) -> None:
        missed.append((number, frame))

    known: dict[int, Any] = {number: signal.getsignal(number) for number in signal.valid_signals()}
    before = {number: handler for number, handler in known.items() if callable(handler)}
    try:
        for number in before:
            signal.signal(number, remember)
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    for number, frame in missed:
        before[number](number, frame)
