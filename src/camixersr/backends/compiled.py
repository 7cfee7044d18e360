"""The network through torch.compile: what lies between its data-dependent steps, fused by inductor.

Which windows are attended is known only while a block runs, so its predictor and its feed-forward are
compiled and the rest stays as it is; all blocks share their code. It takes a batch of tiles at once, as the
plain network does on an accelerator: batches are the same in every run (decision 0007), and so are the
sizes that are met. Inductor keeps what it compiled in the cache folder. On a CPU this needs a C++
compiler, and the torch backend's prepared network is faster there (docs/runtimes.md); it is meant for
accelerators, where it has not been measured yet.
"""

import copy
import os
import shutil
from dataclasses import replace
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray

from camixersr.backends.cache import folder
from camixersr.backends.plain import Plain
from camixersr.backends.pools import Recording
from camixersr.backends.protocol import Backend, Planes, Routed, Step
from camixersr.nn.layers import FeedForward
from camixersr.nn.pool import Pool
from camixersr.nn.predictor import Predictor
from camixersr.nn.routing import Policy
from camixersr.weights import Model

__all__ = ["Compiled", "why_not"]

COMPILE: dict[str, Any] = {"dynamic": True}
"""Options of torch.compile."""


def why_not(device: str) -> str:
    """Why torch.compile cannot be used, in one line; empty if it can."""
    if device == "mps":
        return "backend compile computes on CPUs and CUDA devices; use --backend torch"
    compilers = [os.environ.get("CXX", ""), "g++", "clang++", "c++"]
    if device == "cpu" and not any(each and shutil.which(each) for each in compilers):
        return "backend compile needs a C++ compiler for the CPU; install g++, or use --backend torch"
    return ""


class Compiled(Plain):
    """A backend.

    Args:
        model: whose network.
        device: where.
        precision: "fp32", "bf16" or "fp16".
        plain: what computes what cannot be compiled.
    """

    name = "compile"

    def __init__(self, model: Model, device: str, precision: str, plain: Backend) -> None:
        os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(folder() / "inductor"))
        super().__init__(replace(model, source=copy.deepcopy(model.network)), device, precision, plain.full)
        self._plain = plain
        for part in self._network.modules():
            if isinstance(part, Predictor | FeedForward):
                part.compile(**COMPILE)

    def route(
        self, low: Planes, policy: Policy | tuple[Policy, ...], pool: Pool, step: Step = lambda: None
    ) -> Routed:
        """See `Backend.route`."""
        if isinstance(pool, Recording) or low.shape[1] != 3:
            return self._plain.route(low, policy, pool, step)
        # outside, or the predictor would be compiled anew for every block's number
        outside = cast(Pool, torch.compiler.disable(pool))
        return super().route(low, policy, outside, step)

    def score(self, low: Planes) -> NDArray[np.float32]:
        """See `Backend.score`."""
        return self._plain.score(low)
