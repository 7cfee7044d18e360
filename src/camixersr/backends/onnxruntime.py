"""The graph in ONNX Runtime, on the CPU, in fp32: one session for any size, ready in half a second."""

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray

from camixersr.backends.graph import Answer, GraphBackend
from camixersr.backends.protocol import Backend, Footprint
from camixersr.graph.build import build
from camixersr.weights import Model

__all__ = ["OnnxRuntime"]

FOOTPRINT = Footprint(26, 1000, 128 * 2**20)
"""Fitted as OpenVINO's, with ONNX Runtime 1.27; its arena grows with the second computation."""

ERRORS_ONLY = 3  # of ONNX Runtime's levels of talking


class OnnxRuntime(GraphBackend):
    """A backend.

    Args:
        model: whose graph.
        plain: what computes what the graph cannot be given.
    """

    def __init__(self, model: Model, plain: Backend) -> None:
        super().__init__(model, "onnxruntime", "fp32", plain, footprint=FOOTPRINT)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.log_severity_level = ERRORS_ONLY
        self._session = onnxruntime.InferenceSession(
            build(model.network).SerializeToString(), options, providers=["CPUExecutionProvider"]
        )

    def infer(self, inputs: dict[str, NDArray[np.generic]]) -> Answer:
        """See `GraphBackend.infer`."""
        return Answer(*self._session.run(None, inputs))  # type: ignore[arg-type]
