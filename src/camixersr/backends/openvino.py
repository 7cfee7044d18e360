"""The graph in OpenVINO, on the CPU.

OpenVINO fuses what it sees whole: a graph whose sizes are all known runs in two thirds of the time of
one that is compiled for any size (docs/runtimes.md). Compiling takes seconds, so a piece gets a graph of
its own size only if it is large, and compiled graphs are kept, in memory and on disk.
"""

import threading
from functools import cache
from typing import Any

import numpy as np
import openvino
import torch
from numpy.typing import NDArray

from camixersr import __version__
from camixersr.backends.cache import keep, kept, key
from camixersr.backends.graph import Answer, GraphBackend
from camixersr.backends.protocol import Backend, Footprint
from camixersr.graph.build import build
from camixersr.nn.pool import CONDITIONS
from camixersr.weights import Model

__all__ = ["OpenVino", "has_bf16", "settings"]

OWN_SIZE = 256 * 256
"""From so many low pixels on a piece is worth a graph of its own size: what that saves, about 3
microseconds a pixel, is no less than reading such a graph from the disk costs."""

MOST = 4
"""Compiled graphs that are kept in memory; only the one last used keeps its maps."""

FOOTPRINTS = {"fp32": Footprint(13, 40, 160 * 2**20), "bf16": Footprint(18, 0, 256 * 2**20)}
"""Fitted to networks of 12 to 60 channels and pieces of 256 x 256 to 768 x 768 low pixels at ratio 1, with
OpenVINO 2026.4; in bf16 torch computes the ends."""


@cache
def _core() -> openvino.Core:
    return openvino.Core()


@cache
def has_bf16() -> bool:
    """Whether this processor computes in bf16."""
    return "BF16" in _core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def settings(precision: str) -> dict[str, Any]:
    """How a graph is compiled: one request at a time, and no other precision than was asked for."""
    return {
        # OpenVINO would take bf16 by itself where the processor has it
        "INFERENCE_PRECISION_HINT": {"fp32": "f32"}.get(precision, precision),
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "NUM_STREAMS": 1,
    }


class OpenVino(GraphBackend):
    """A backend.

    Args:
        model: whose graph.
        precision: "fp32" or "bf16".
        plain: what computes what the graph cannot be given.
    """

    def __init__(self, model: Model, precision: str, plain: Backend) -> None:
        super().__init__(
            model, "openvino", precision, plain, footprint=FOOTPRINTS[precision], ends=precision == "fp32"
        )
        self._graph = build(model.network, ends=self.ends).SerializeToString()
        self._compiled: dict[tuple[int, int], openvino.CompiledModel] = {}
        self._lock = threading.Lock()

    def infer(self, inputs: dict[str, NDArray[np.generic]]) -> Answer:
        """See `GraphBackend.infer`."""
        height, width = inputs["low"].shape[2:] if self.ends else inputs["x"].shape[1:3]
        size = (height, width) if height * width >= OWN_SIZE else (0, 0)
        with self._lock:
            results = self._sized(size)(inputs)
            return Answer(*(results[number] for number in range(len(results))))

    def _sized(self, size: tuple[int, int]) -> openvino.CompiledModel:
        """The graph for a size; 0 x 0 is any."""
        if self._compiled and size != next(reversed(self._compiled)):
            next(reversed(self._compiled.values())).release_memory()
        compiled = self._compiled.pop(size, None) or self._load(*size)
        self._compiled[size] = compiled  # the last used is the last to go
        while len(self._compiled) > MOST:
            del self._compiled[next(iter(self._compiled))]
        return compiled

    def _load(self, height: int, width: int) -> openvino.CompiledModel:
        """Read a compiled graph from the cache, or compile it and keep it there."""
        how = settings(self.precision)
        name = key(
            "openvino",
            openvino.__version__,
            __version__,
            _core().get_property("CPU", "FULL_DEVICE_NAME"),
            _core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"),
            how,
            height,
            width,
            self._graph,
        )
        content = kept(name)
        if content is not None:
            try:
                return _core().import_model(content, "CPU", how)
            except RuntimeError:
                pass  # made by something that only looked the same: make it anew
        graph = _core().read_model(self._graph)
        if height:
            windows = height * width // self.model.config.window**2
            blocks = self.model.network.block_count
            sizes = {"allowed": [blocks, windows]}
            if self.ends:
                sizes["low"] = [1, 3, height, width]
            else:
                sizes["x"] = [1, height, width, self.model.config.channels]
                sizes["condition"] = [1, height, width, CONDITIONS]
            graph.reshape(sizes)
        compiled = _core().compile_model(graph, "CPU", how)
        keep(name, compiled.export_model().getvalue())
        return compiled
