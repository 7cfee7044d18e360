"""`camixersr export`: a network as a file for other programs."""

import json
import sys
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from camixersr.errors import MissingExtraError, OutputError, UsageError
from camixersr.extras import install_line

__all__ = ["export"]

Flag = Parameter(negative=())


def export(
    model: str = "s-x4",
    /,
    *,
    to: Literal["onnx", "openvino"],
    output: Annotated[Path | None, Parameter(name=["--output", "-o"])] = None,
    tile: int | None = None,
    dynamic: Annotated[bool, Flag] = False,
    simple: Annotated[bool, Flag] = False,
    attention_ratio: float | None = None,
    precision: Literal["fp32", "fp16"] = "fp32",
    photo: Annotated[list[Path] | None, Parameter(negative=(), consume_multiple=True)] = None,
    overwrite: Annotated[bool, Flag] = False,
    json_: Annotated[bool, Parameter(name="--json", negative=())] = False,
) -> None:
    """Write a network for ONNX Runtime or OpenVINO, and check it against torch on photographs.

    Parameters
    ----------
    model
        A name from `camixersr models list`, or a file of weights.
    to
        The format. onnx: one .onnx file. openvino: an .xml file and a .bin file beside it.
    output
        File to write. Default: the model's name, in the current folder.
    tile
        Make a file for pieces of this side, a multiple of 16. OpenVINO runs such a file faster.
    dynamic
        Make a file for pieces of any size whose sides are multiples of 16. This is the default.
    simple
        Make a file with one input and one output: an image of any size. Its attention ratio is fixed.
        Without this option the file also takes the routing as inputs, and gives it back.
    attention_ratio
        The fixed ratio of a --simple file, from 0 (fastest) to 1 (attention everywhere). Default: 0.5.
    precision
        Number format of the weights in the file. fp16 takes half the bytes.
    photo
        Pictures to check the file on, before enlarging. Default: a photograph in this package.
    overwrite
        Replace files that exist.
    json_
        Print the report as JSON.
    """
    if tile is not None and dynamic:
        raise UsageError("--tile and --dynamic exclude each other; give one of them")
    if tile is not None and tile < 16:
        raise UsageError(f"--tile must be a multiple of 16, got {tile}")
    if attention_ratio is not None and not simple:
        raise UsageError(
            "only a --simple file has a fixed --attention-ratio; add --simple, or leave the ratio out"
        )
    ratio = (0.5 if attention_ratio is None else attention_ratio) if simple else None
    from camixersr.catalogue import find
    from camixersr.cli.bars import steps
    from camixersr.image.decode import read
    from camixersr.tensors import from_array
    from camixersr.weights import Model

    try:
        from camixersr.backends.parity import sample_photo
        from camixersr.export.files import SUFFIXES
        from camixersr.export.files import export as write
    except ImportError as error:
        raise MissingExtraError(f"exporting needs onnx; {install_line(to)}") from error
    loaded: Model = find(model)
    target = output or Path(f"{loaded.name}{SUFFIXES[to]}")
    for path in (target, *([target.with_suffix(".bin")] if to == "openvino" else [])):
        if path.exists() and not overwrite:
            raise OutputError(f"{path}: exists already; add --overwrite to replace it")
    photos = [from_array(read(each).pixels) for each in photo] if photo else [sample_photo()]
    with steps() as progress:
        parity = write(
            loaded,
            target,
            to=to,
            photos=photos,
            tile=tile or 0,
            precision=precision,
            attention_ratio=ratio,
            progress=progress,
        )
    if json_:
        facts = {
            "file": str(target),
            "format": to,
            "model": loaded.name,
            "sha256": loaded.sha256,
            "precision": precision,
            "tile": tile or 0,
            **({"attention_ratio": ratio} if ratio is not None else {}),
            "psnr_db": parity.psnr_db,
            "max_abs": parity.max_abs,
            "gate_db": parity.gate_db,
        }
        print(json.dumps(facts, indent=2))
    else:
        print(f"{target}: {target.stat().st_size / 1e6:.1f} MB, {parity}", file=sys.stdout)
