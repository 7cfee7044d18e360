"""`camixersr upscale`: pictures in, enlarged pictures out."""

import json
import sys
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from camixersr.cli.bars import Bars
from camixersr.cli.huge import Budget, parse_size
from camixersr.errors import UsageError

__all__ = ["upscale"]

Flag = Parameter(negative=())


def upscale(
    inputs: Annotated[list[Path], Parameter(name="INPUT", negative=())],
    /,
    *,
    output: Annotated[Path | None, Parameter(name=["--output", "-o"])] = None,
    scale: float | None = None,
    width: int | None = None,
    height: int | None = None,
    fit: str | None = None,
    megapixels: float | None = None,
    model: str | None = None,
    attention_ratio: float = 0.5,
    routing: Literal["auto", "top-share"] = "auto",
    max_share: float = 1.0,
    seconds: float | None = None,
    memory: str | None = None,
    tile: str = "auto",
    projection: Literal["auto", "flat", "erp"] = "auto",
    device: str = "auto",
    backend: Literal["torch", "compile", "onnxruntime", "openvino", "auto"] = "torch",
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto",
    format_: Annotated[
        Literal["png", "jpg", "jpeg", "webp", "tif", "tiff", "avif"] | None, Parameter(name="--format")
    ] = None,
    quality: int | None = None,
    subsampling: Literal["4:4:4", "4:2:0"] | None = None,
    compression: str | None = None,
    lossless: bool | None = None,
    color: Literal["keep", "srgb"] = "keep",
    alpha: Literal["model", "bicubic"] = "model",
    strip: Annotated[bool, Flag] = False,
    max_pixels: int | None = None,
    name: str = "{stem}_{size}",
    overwrite: Annotated[bool, Flag] = False,
    skip_existing: Annotated[bool, Flag] = False,
    resume: Annotated[bool, Flag] = False,
    spill: Path | None = None,
    route_map: Path | None = None,
    json_: Annotated[Path | None, Parameter(name="--json")] = None,
) -> int:
    """Enlarge pictures.

    Parameters
    ----------
    inputs
        Pictures (PNG, JPEG, WebP, TIFF, AVIF, GIF, BMP, PPM; HEIC and camera RAW with the extras),
        folders with all below them, patterns such as 'photos/**/*.jpg', or - for standard input.
    output
        File to write, a folder for several inputs, or - for standard output. By default NAME_x4
        beside each input. Below a folder the tree of an input folder is mirrored.
    scale
        How many times as high and wide, for example 4 or 1.5, as far as the models go. Default: 4, or
        what the given model does.
    width
        Columns of the result; rows follow, unless --height is given too.
    height
        Rows of the result; columns follow.
    fit
        Frame that the result just fits into, for example 3840x2160.
    megapixels
        Size of the result, in millions of pixels.
    model
        A name from `camixersr models list`, or a file of weights. Default: an embedded one.
    attention_ratio
        Share of windows that get attention, an average over photographs: 0 (fastest) to 1.
    routing
        auto: by thresholds, so that a plain picture spends less than the ratio; top-share: exactly
        that share of every picture's windows.
    max_share
        Never attend more than this share of each picture's windows.
    seconds
        Choose the attention ratio so that each picture takes no longer than this.
    memory
        Choose tiles so that no more memory is needed in all, such as 2GB.
    tile
        Side of a tile in pixels of the input, a multiple of 16; 0 for none; or auto.
    projection
        erp: the pictures are equirectangular 360-degree panoramas, and are enlarged without a seam.
        auto: those whose metadata (GPano) says so. flat: none is.
    device
        Where to compute: cpu, cuda, cuda:1, mps; several such as cuda:0,cuda:1, or all, share a picture's
        tiles or a folder's files; auto is the first accelerator, else the CPU.
    backend
        What computes: torch; torch.compile; ONNX Runtime or OpenVINO (extras, on the CPU); or auto:
        whichever is the fastest here, measured once for a model (`camixersr doctor`).
    precision
        What to compute in; auto is fp32.
    format_
        Format of the results. Default: the source's where it can hold the result, else PNG or TIFF.
    quality
        1 to 100, for JPEG and WebP (default 95) and AVIF (90).
    subsampling
        Of colour, for JPEG and AVIF. Default: 4:4:4.
    compression
        For PNG 0 to 9 (default 6), for TIFF none, lzw, deflate (default) or packbits.
    lossless
        WebP and AVIF without loss, or not. Default: as the source was.
    color
        Keep the colour values and their profile, or convert them to sRGB.
    alpha
        What enlarges transparency: the model, or bicubic interpolation.
    strip
        Write no metadata at all; colours with a profile are converted to sRGB.
    max_pixels
        Refuse larger inputs before decoding them. Default: 2,000,000,000.
    name
        Names of results, from {stem}, {name} (with suffix) and {size} (x4, w1920 ...).
    overwrite
        Replace files that exist.
    skip_existing
        Leave out inputs whose result exists.
    resume
        Do what an interrupted run with the same options has not done: of a folder the pictures that
        are missing, of a large picture the tiles.
    spill
        Folder for the intermediate files of large pictures, instead of the output's.
    route_map
        Also write a picture of where attention went; a folder for several inputs.
    json_
        Also write the facts of the summary as JSON; a list for several inputs.
    """
    budget = Budget(
        attention_ratio=attention_ratio,
        max_share=max_share,
        seconds=seconds,
        memory=None if memory is None else parse_size(memory, "--memory"),
        spill=spill,
        resume=resume,
    )
    if tile != "auto" and not tile.isdecimal():
        raise UsageError(f"--tile must be auto, 0 or a multiple of 16, got {tile!r}")
    if overwrite + skip_existing + resume > 1:
        raise UsageError("--overwrite, --skip-existing and --resume exclude each other; give one of them")
    if max_pixels is not None and max_pixels < 1:
        raise UsageError(f"--max-pixels must be at least 1, got {max_pixels}")
    from camixersr.folders import MANIFEST, STREAM, Manifest, check_template, find, plan, run
    from camixersr.image.codec import MAX_PIXELS
    from camixersr.image.files import make_folder, replacing, require_writable
    from camixersr.image.formats import WRITABLE, WriteOptions, format_of
    from camixersr.image.size import Size

    check_template(name)
    size = Size(scale, width, height, Size.frame(fit) if fit is not None else None, megapixels)
    options = WriteOptions(quality, subsampling, compression, lossless, strip)
    if format_ is not None:
        options.require_use(format_of(f".{format_}").kind)
    if output is not None and output.suffix.lower() in WRITABLE and not output.is_dir():
        options.require_use(format_of(output.suffix).kind)
    from camixersr.cli.pictures import Models, Pictures, Settings

    side: int | Literal["auto"] = "auto" if tile == "auto" else int(tile)
    models = Models(model, device, precision, side, backend=backend, routing=routing)
    models.require(size)
    found = find(inputs, output=output)
    if output is None and found[0].source == STREAM:
        output = STREAM
    if output == STREAM and sys.stdout.isatty():
        raise UsageError("a picture is not for a terminal; name a file with -o")
    suffix = f".{format_}" if format_ else ""
    jobs = plan(
        found,
        output=output,
        size=size.label(models.default_scale),
        template=name,
        suffix=suffix,
        route_map=route_map,
    )
    many = len(jobs) > 1 or found[0].searched
    for folder in (output, route_map):
        if many and folder is not None:
            make_folder(folder)
    existing = "overwrite" if overwrite else "skip" if skip_existing else "resume" if resume else "refuse"
    settings = Settings(
        size=size,
        budget=budget,
        color="srgb" if strip else color,
        alpha_by=alpha,
        options=options,
        max_pixels=max_pixels or MAX_PIXELS,
        suffix=suffix,
        existing=existing,
        name=name,
        projection=projection,
        folder=output if many else None,
    )
    if json_ is not None:
        _refuse_existing(json_, overwrite or resume)
        require_writable(json_)
    manifest: Manifest | None = None
    if resume and many and (output is None or not output.is_dir()):
        raise UsageError("--resume needs the folder of the interrupted run; name it with -o")
    if output is not None and many and (resume or any(each.searched for each in found)):
        manifest = Manifest(output / MANIFEST)
    with Bars(len(jobs)) as bar:
        pictures = Pictures(models, settings, jobs, manifest, bar)
        try:
            failures = run(
                jobs,
                decode=pictures.decode,
                compute=pictures.compute,
                encode=pictures.encode,
                finished=bar.finished,
                workers=pictures.workers,
                stop=pictures.stop,
            )
        finally:
            if manifest is not None:
                manifest.close()
    if failures and not many:
        raise failures[0].cause
    facts = pictures.facts
    if json_ is not None:
        with replacing(json_) as partial:
            partial.write_text(json.dumps(facts if many else facts[0] if facts else {}, indent=2) + "\n")
    for failure in failures:
        print(f"camixersr: {' '.join(str(failure.error).split())}", file=sys.stderr)
    if pictures.skipped:
        print(f"camixersr: {pictures.skipped} of {len(jobs)} pictures were there already", file=sys.stderr)
    if failures:
        print(f"camixersr: {len(failures)} of {len(jobs)} pictures failed", file=sys.stderr)
    return 3 if failures else 0


def _refuse_existing(path: Path, overwrite: bool) -> None:
    from camixersr.cli.pictures import refuse_existing

    if not overwrite:
        refuse_existing(path)
