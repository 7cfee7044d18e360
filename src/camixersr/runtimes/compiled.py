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
from typing import Any, cast

import torch
from torch import Tensor

from camixersr.inference.memory import PLAIN
from camixersr.inference.survey import Recording
from camixersr.nn.layers import FeedForward
from camixersr.nn.predictor import Pool, Predictor
from camixersr.nn.routing import Policy, Routing
from camixersr.runtimes.cache import folder
from camixersr.weights import Model

__all__ = ["Compiled", "why_not"]

COMPILE: dict[str, Any] = {"dynamic": True}
"""Options of torch.compile."""

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


def why_not(device: torch.device) -> str:
    """Why torch.compile cannot be used, in one line; empty if it can."""
    if device.type == "mps":
        return "backend compile computes on CPUs and CUDA devices; use --backend torch"
    compilers = [os.environ.get("CXX", ""), "g++", "clang++", "c++"]
    if device.type == "cpu" and not any(each and shutil.which(each) for each in compilers):
        return "backend compile needs a C++ compiler for the CPU; install g++, or use --backend torch"
    return ""


class Compiled:
    """An engine.

    Args:
        model: whose network.
        device: where.
        precision: "fp32", "bf16" or "fp16".
    """

    name = "compile"
    whole = 512 * 512
    tile = 320
    together = True
    footprint = PLAIN

    def __init__(self, model: Model, device: torch.device, precision: str) -> None:
        os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(folder() / "inductor"))
        self.precision = precision
        self._device = device
        self._network = copy.deepcopy(model.network).to(device)
        for part in self._network.modules():
            if isinstance(part, Predictor | FeedForward):
                part.compile(**COMPILE)

    def route(self, low: Tensor, policy: Policy, pool: Pool) -> tuple[Tensor, Routing] | None:
        """See `camixersr.inference.engine.Engine.route`."""
        if isinstance(pool, Recording):  # what it does cannot be compiled
            return None
        # outside, or the predictor would be compiled anew for every block's number
        outside = cast(Pool, torch.compiler.disable(pool))
        dtype = DTYPES.get(self.precision, torch.float32)
        with torch.autocast(self._device.type, dtype, enabled=dtype != torch.float32):
            return self._network.route(low.to(self._device), policy, pool=outside, together=True)
