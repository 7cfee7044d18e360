"""Files for other programs: the graph in ONNX or OpenVINO's format, checked against torch and then kept.

The file's metadata says what another program must know: which inputs there are (`graph.build`), and
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
from camixersr.backends.graph import Answer, GraphBackend
from camixersr.backends.orders import orders
from camixersr.backends.parity import RATIOS as COMPARED
from camixersr.backends.parity import Parity, compare, compare_images
from camixersr.errors import MissingExtraError, ParityError, UsageError, ValueRangeError
from camixersr.export.simple import simplify
from camixersr.extras import install_line
from camixersr.graph.build import build, outputs_of
from camixersr.image.files import replacing, require_writable
from camixersr.weights import Model

__all__ = ["PRECISIONS", "Format", "export", "metadata_of"]

Format = Literal["onnx", "openvino"]

PRECISIONS = ("fp32", "fp16")
"""What weights are stored in; fp16 takes half the bytes. Arithmetic is in fp32."""

Progress = Callable[[str, int, int], None]
"""Told what is being done, how many steps are done, and how many there are."""

SUFFIXES = {"onnx": ".onnx", "openvino": ".xml"}

RATIOS = (0.25, 0.5, 0.75)
"""Attention ratios whose thresholds are in the metadata; 0 and 1 need none."""


class _Loaded(GraphBackend):
    """The backend of a file that was just written."""

    def __init__(self, model: Model, name: str, precision: str, run: Callable[..., Sequence[Any]]) -> None:
        super().__init__(model, name, precision, plain=None)
        self._run = run

    def infer(self, inputs: dict[str, NDArray[np.generic]]) -> Answer:
        return Answer(*self._run(inputs))


def metadata_of(
    model: Model, *, precision: str, tile: int, attention_ratio: float | None = None
) -> dict[str, str]:
    """What a file says of itself; numbers and lists as JSON.

    Args:
        model: what was exported.
        precision: as asked for.
        tile: side that the file is for, or 0 for any.
        attention_ratio: of a file with an image in and an image out; None for a full graph.

    Returns:
        `model`, `sha256` (of the weights), `camixersr` (version), `scale`, `window`, `blocks`,
        `precision`, `tile`; `pool` (side of the cells), or `pooled` (shape of that input) where it is
        the whole image; and `thresholds` and `slopes` by attention ratio, if the model is calibrated.
        With an image in and an image out, `attention_ratio` instead of the last four.
    """
    blocks = model.network.block_count
    facts: dict[str, Any] = {
        "scale": model.config.scale,
        "window": model.config.window,
        "blocks": blocks,
        "tile": tile,
    }
    if attention_ratio is not None:
        facts["attention_ratio"] = attention_ratio
    elif model.config.pool:
        facts["pool"] = model.config.pool
    else:
        shape = model.network.state_dict()["body.0.blocks.0.mixer.predictor.project_in.weight"].shape
        facts["pooled"] = [blocks, shape[0]]
    if model.calibration is not None and attention_ratio is None:
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
    attention_ratio: float | None = None,
    progress: Progress = lambda what, done, total: None,
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
        attention_ratio: gamma in [0, 1] of a simple file, an image in and an image out
            (`camixersr.export.simple`); None for a full graph, which is told the routing when it runs.
        progress: told what is being done, how many steps are done, and how many there are.

    Returns:
        How far it is from torch.

    Raises:
        ParityError: too far; no file is left.
        UsageError: an unknown format or precision, a target that ends otherwise, or a ClassSR.
        ValueRangeError: no such tile, or the ratio lies outside [0, 1].
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
    if attention_ratio is not None:
        model.policy(attention_ratio)  # complains now rather than when it is built
    check = _Check(model, target, attention_ratio, precision, photos, tile, progress)
    check.step("building the graph")
    graph = build(model.network)
    if attention_ratio is not None:
        simplify(graph, model, attention_ratio)
    if tile:
        _fix_sizes(graph, model, tile)
    about = metadata_of(model, precision=precision, tile=tile, attention_ratio=attention_ratio)
    check.step(f"loading it into {'ONNX Runtime' if to == 'onnx' else 'OpenVINO'}")
    write = _write_onnx if to == "onnx" else _write_openvino
    return write(graph, model, target, about, check)


class _Check:
    """What must be true of a file before it is kept; tells how far it is.

    Args:
        model: what is exported.
        target: the file.
        attention_ratio: of a simple file; None for a full graph.
        precision: of the weights in the file.
        photos: to compare with torch on.
        tile: side that the file is for, or 0 for any.
        progress: as for `export`.
    """

    def __init__(
        self,
        model: Model,
        target: Path,
        attention_ratio: float | None,
        precision: str,
        photos: Sequence[Tensor],
        tile: int,
        progress: Progress,
    ) -> None:
        self.model, self.target, self.ratio, self.precision = model, target, attention_ratio, precision
        self.photos = [_piece(photo, tile) if tile else photo for photo in photos]
        self._progress = progress
        self._done = -1
        self._total = 2 + len(photos) * (len(COMPARED) if attention_ratio is None else 1)

    def step(self, what: str = "comparing with torch") -> None:
        """Tell what is done next; one more step is done."""
        self._done += 1
        self._progress(what, self._done, self._total)

    def __call__(self, name: str, run: Callable[..., Sequence[Any]]) -> Parity:
        """Compare.

        Args:
            name: of the runtime.
            run: a dictionary of inputs -> the outputs in their order.

        Raises:
            ParityError: the results are too far from torch's.
        """
        self.step()
        if self.ratio is None:
            loaded = _Loaded(self.model, name, self.precision, run)
            parity = compare(loaded, self.model, self.photos, step=self.step)
        else:
            parity = compare_images(
                lambda low: run({"low": low})[0],
                self.model,
                self.photos,
                self.ratio,
                precision=self.precision,
                step=self.step,
            )
        if not parity.passed:
            raise ParityError(f"{self.target}: not written: its results are {parity}")
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
    graph: onnx.ModelProto, model: Model, target: Path, about: dict[str, str], check: _Check
) -> Parity:
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingExtraError(
            f"checking an ONNX file needs onnxruntime; {install_line('onnx')}"
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
        return check("onnxruntime", lambda inputs: session.run(None, inputs))


def _write_openvino(
    graph: onnx.ModelProto, model: Model, target: Path, about: dict[str, str], check: _Check
) -> Parity:
    try:
        import openvino
    except ImportError as error:
        raise MissingExtraError(
            f"writing OpenVINO's format needs openvino; {install_line('openvino')}"
        ) from error
    simple = check.ratio is not None
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
                return [results[name] for name in (["high"] if simple else outputs_of(model.config))]

            parity = check("openvino", run)
            with replacing(weights) as partial_weights:
                partial_weights.write_bytes(beside.read_bytes())
            return parity
        finally:
            beside.unlink(missing_ok=True)
