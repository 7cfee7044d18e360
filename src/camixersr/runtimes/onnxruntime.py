"""The graph in ONNX Runtime, on the CPU, in fp32: one session for any size, ready in half a second."""

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray

from camixersr.export.graph import build
from camixersr.inference.engine import Answer, Footprint, GraphEngine
from camixersr.weights import Model

__all__ = ["OnnxRuntime"]

FOOTPRINT = Footprint(26, 1000, 128 * 2**20)
"""Fitted as OpenVINO's, with ONNX Runtime 1.27; its arena grows with the second computation."""

ERRORS_ONLY = 3  # of ONNX Runtime's levels of talking


class OnnxRuntime(GraphEngine):
    """An engine.

    Args:
        model: whose graph.
    """

    def __init__(self, model: Model) -> None:
        super().__init__(model, "onnxruntime", "fp32", FOOTPRINT)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.log_severity_level = ERRORS_ONLY
        self._session = onnxruntime.InferenceSession(
            build(model.network).SerializeToString(), options, providers=["CPUExecutionProvider"]
        )

    def infer(self, inputs: dict[str, NDArray[np.generic]]) -> Answer:
        """See `GraphEngine.infer`."""
        return Answer(*self._session.run(None, inputs))  # type: ignore[arg-type]
