"""Files for other programs: the graph in ONNX or OpenVINO's format, checked against torch and then kept.

The file's metadata says what another program must know: which inputs there are (`export.graph`), and
the thresholds that stand for an attention ratio.
"""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor

from camixersr import __version__
from camixersr.errors import MissingExtraError, ParityError, UsageError, ValueRangeError
from camixersr.export.graph import build, outputs_of
from camixersr.export.parity import Parity, compare
from camixersr.image.files import replacing, require_writable
from camixersr.inference.engine import Answer, GraphEngine, orders
from camixersr.weights import Model

__all__ = ["PRECISIONS", "Format", "export", "metadata_of"]

Format = Literal["onnx", "openvino"]

PRECISIONS = ("fp32", "fp16")
"""What weights are stored in; fp16 takes half the bytes. Arithmetic is in fp32."""

SUFFIXES = {"onnx": ".onnx", "openvino": ".xml"}

RATIOS = (0.25, 0.5, 0.75)
"""Attention ratios whose thresholds are in the metadata; 0 and 1 need none."""


class _Loaded(GraphEngine):
    """The engine of a file that was just written."""

    def __init__(self, model: Model, name: str, precision: str, run: Callable[..., Sequence[Any]]) -> None:
        super().__init__(model, name, precision)
        self._run = run

    def infer(self, inputs: dict[str, NDArray[np.generic]]) -> Answer:
        return Answer(*self._run(inputs))


def metadata_of(model: Model, *, precision: str, tile: int) -> dict[str, str]:
    """What a file says of itself; numbers and lists as JSON.

    Args:
        model: what was exported.
        precision: as asked for.
        tile: side that the file is for, or 0 for any.

    Returns:
        `model`, `sha256` (of the weights), `camixersr` (version), `scale`, `window`, `blocks`,
        `precision`, `tile`; `pool` (side of the cells), or `pooled` (shape of that input) where it is
        the whole image; and `thresholds` and `slopes` by attention ratio, if the model is calibrated.
    """
    blocks = model.network.block_count
    facts: dict[str, Any] = {
        "scale": model.config.scale,
        "window": model.config.window,
        "blocks": blocks,
        "tile": tile,
    }
    if model.config.pool:
        facts["pool"] = model.config.pool
    else:
        shape = model.network.state_dict()["body.0.blocks.0.mixer.predictor.project_in.weight"].shape
        facts["pooled"] = [blocks, shape[0]]
    if model.calibration is not None:
        given = {str(ratio): orders(model.policy(ratio), blocks, 1) for ratio in RATIOS}
        facts["thresholds"] = {ratio: each.thresholds.tolist() for ratio, each in given.items() if each}
        facts["slopes"] = {ratio: each.slopes.tolist() for ratio, each in given.items() if each}
    words = {
        "model": model.name,
        "sha256": model.sha256,
        "camixersr": __version__,
        "precision": precision,
    }
    return words | {name: json.dumps(value) for name, value in facts.items()}


def export(
    model: Model,
    target: Path,
    *,
    to: Format,
    photos: Sequence[Tensor],
    tile: int = 0,
    precision: str = "fp32",
) -> Parity:
    """Write a network for a runtime, and check what the runtime makes of it.

    Args:
        model: what to write.
        target: ends in .onnx, or in .xml for OpenVINO, which writes a .bin of that name beside it.
        to: the format.
        photos: to compare with torch on, each 3 x H x W float32 in [0, 1].
        tile: side in low pixels, a multiple of the window, of a graph for pieces of one size, which
            OpenVINO runs faster; 0 for pieces of any size.
        precision: of `PRECISIONS`.

    Returns:
        How far it is from torch.

    Raises:
        ParityError: too far; no file is left.
        UsageError: an unknown format or precision, a target that ends otherwise, or a ClassSR.
        ValueRangeError: no such tile.
        MissingExtraError: the runtime is not installed.
        OutputError: the target cannot be written.
    """
    if to not in get_args(Format):
        raise UsageError(f"unknown format {to!r}; use one of {', '.join(get_args(Format))}")
    if precision not in PRECISIONS:
        raise UsageError(f"unknown precision {precision!r}; use one of {', '.join(PRECISIONS)}")
    if target.suffix != SUFFIXES[to]:
        raise UsageError(f"expected a target ending in {SUFFIXES[to]} for {to}, got {target}")
    if model.classes is not None:
        raise UsageError(
            f"{model.name} is a ClassSR: a graph holds no classes; export the model beneath it"
        )
    window = model.config.window
    if tile < 0 or tile % window:
        raise ValueRangeError(f"tile must be 0 (any size) or a multiple of {window}, got {tile}")
    graph = build(model.network)
    if tile:
        _fix_sizes(graph, model, tile)
        photos = [_piece(photo, tile) for photo in photos]
    about = metadata_of(model, precision=precision, tile=tile)
    write = _write_onnx if to == "onnx" else _write_openvino
    return write(graph, model, target, about, photos)


def _check(engine: GraphEngine, model: Model, photos: Sequence[Tensor], target: Path) -> Parity:
    parity = compare(engine, model, photos)
    if not parity.passed:
        raise ParityError(f"{target}: not written: its results are {parity}")
    return parity


def _piece(photo: Tensor, side: int) -> Tensor:
    """A square of a photograph, repeated where it is too small."""
    times = [-(-side // length) for length in photo.shape[1:]]
    return photo.repeat(1, *times)[:, :side, :side]


def _fix_sizes(graph: onnx.ModelProto, model: Model, tile: int) -> None:
    """Declare one size of input and output, instead of any."""
    sizes = {
        "H": tile,
        "W": tile,
        "N": (tile // model.config.window) ** 2,
        f"{model.config.scale}*H": model.config.scale * tile,
        f"{model.config.scale}*W": model.config.scale * tile,
    }
    for value in (*graph.graph.input, *graph.graph.output):
        for dimension in value.type.tensor_type.shape.dim:
            if dimension.dim_param:
                dimension.dim_value = sizes[dimension.dim_param]


def _halve(graph: onnx.ModelProto) -> None:
    """Store weights in fp16; a cast in the graph makes them fp32 again."""
    casts: list[onnx.NodeProto] = []
    for tensor in graph.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT and np.prod(tensor.dims) > 1:
            name, half = tensor.name, numpy_helper.to_array(tensor).astype(np.float16)
            tensor.CopyFrom(numpy_helper.from_array(half, f"{name}_fp16"))
            casts.append(helper.make_node("Cast", [tensor.name], [name], to=TensorProto.FLOAT))
    nodes = [*casts, *graph.graph.node]
    del graph.graph.node[:]
    graph.graph.node.extend(nodes)


def _write_onnx(
    graph: onnx.ModelProto, model: Model, target: Path, about: dict[str, str], photos: Sequence[Tensor]
) -> Parity:
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingExtraError(
            "checking an ONNX file needs onnxruntime; pip install 'camixersr[onnx]'"
        ) from error
    if about["precision"] == "fp16":
        _halve(graph)
    helper.set_model_props(graph, about)
    graph.producer_name, graph.producer_version = "camixersr", __version__
    with replacing(target) as partial:
        partial.write_bytes(graph.SerializeToString())
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        session = onnxruntime.InferenceSession(partial, options, providers=["CPUExecutionProvider"])
        engine = _Loaded(model, "onnxruntime", about["precision"], lambda i: session.run(None, i))
        return _check(engine, model, photos, target)


def _write_openvino(
    graph: onnx.ModelProto, model: Model, target: Path, about: dict[str, str], photos: Sequence[Tensor]
) -> Parity:
    try:
        import openvino
    except ImportError as error:
        raise MissingExtraError(
            "writing OpenVINO's format needs openvino; pip install 'camixersr[openvino]'"
        ) from error
    core = openvino.Core()
    loaded = core.read_model(graph.SerializeToString())
    for name, value in about.items():
        loaded.set_rt_info(value, ["camixersr", name])
    weights = target.with_suffix(".bin")
    require_writable(weights)
    with replacing(target) as partial:
        beside = partial.with_suffix(".bin")
        try:
            openvino.save_model(loaded, partial, compress_to_fp16=about["precision"] == "fp16")
            how = {"INFERENCE_PRECISION_HINT": "f32"}
            # from copies in memory: a file that is mapped cannot be moved everywhere
            content = (partial.read_bytes(), np.fromfile(beside, np.uint8))
            again = core.read_model(content[0], openvino.Tensor(content[1]))
            compiled = core.compile_model(again, "CPU", how)

            def run(inputs: dict[str, NDArray[np.generic]]) -> list[Any]:
                results = compiled(inputs)
                return [results[name] for name in outputs_of(model.config)]

            parity = _check(_Loaded(model, "openvino", about["precision"], run), model, photos, target)
            with replacing(weights) as partial_weights:
                partial_weights.write_bytes(beside.read_bytes())
            return parity
        finally:
            beside.unlink(missing_ok=True)
