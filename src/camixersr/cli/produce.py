"""What `camixersr upscale` and `camixersr restore` share: their options, and the run itself."""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from camixersr.cli.bars import Bars
from camixersr.cli.huge import Budget, parse_size
from camixersr.errors import UsageError

if TYPE_CHECKING:
    from camixersr.enlarge.enlarge import AlphaBy
    from camixersr.image.panorama import Projection
    from camixersr.image.size import Size

__all__ = ["Asked", "produce"]

Flag = Parameter(negative=())


@Parameter(name="*")  # its fields are options of the commands
@dataclass(frozen=True, kw_only=True)
class Asked:
    """Options of every command that makes pictures of pictures.

    Attributes:
        attention_ratio: Share of windows that get attention, an average over photographs: 0
            (fastest) to 1.
        routing: auto: by thresholds, so that a plain picture spends less than the ratio; top-share:
            exactly that share of every picture's windows.
        max_share: Never attend more than this share of each picture's windows.
        seconds: Choose the attention ratio so that each picture takes no longer than this.
        memory: Choose tiles so that no more memory is needed in all, such as 2GB.
        tile: Side of a tile in pixels of the input, a multiple of 64; 0 for none; or auto.
        device: Where to compute: cpu, cuda, cuda:1, mps; several such as cuda:0,cuda:1, or all,
            share a picture's tiles or a folder's files; auto is the first accelerator, else the
            CPU.
        backend: What computes: torch; torch.compile; ONNX Runtime or OpenVINO (extras, on the CPU);
            or auto: whichever is the fastest here, measured once for a model (`camixersr doctor`).
        precision: What to compute in; auto is fp32.
        format_: Format of the results. Default: the source's where it can hold the result, else PNG
            or TIFF.
        quality: 1 to 100, for JPEG and WebP (default 95) and AVIF (90).
        subsampling: Of colour, for JPEG and AVIF. Default: 4:4:4.
        compression: For PNG 0 to 9 (default 6), for TIFF none, lzw, deflate (default) or packbits.
        lossless: WebP and AVIF without loss, or not. Default: as the source was.
        color: Keep the colour values and their profile, or convert them to sRGB.
        strip: Write no metadata at all; colours with a profile are converted to sRGB.
        max_pixels: Refuse larger inputs before decoding them. Default: 2,000,000,000.
        overwrite: Replace files that exist.
        skip_existing: Leave out inputs whose result exists.
        resume: Do what an interrupted run with the same options has not done: of a folder the
            pictures that are missing, of a large picture the tiles.
        spill: Folder for the intermediate files of large pictures, instead of the output's.
        route_map: Also write a picture of where attention went; a folder for several inputs.
        json_: Also write the facts of the summary as JSON; a list for several inputs.
    """

    attention_ratio: float = 0.5
    routing: Literal["auto", "top-share"] = "auto"
    max_share: float = 1.0
    seconds: float | None = None
    memory: str | None = None
    tile: str = "auto"
    device: str = "auto"
    backend: Literal["torch", "compile", "onnxruntime", "openvino", "auto"] = "torch"
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    format_: Annotated[
        Literal["png", "jpg", "jpeg", "webp", "tif", "tiff", "avif"] | None, Parameter(name="--format")
    ] = None
    quality: int | None = None
    subsampling: Literal["4:4:4", "4:2:0"] | None = None
    compression: str | None = None
    lossless: bool | None = None
    color: Literal["keep", "srgb"] = "keep"
    strip: Annotated[bool, Flag] = False
    max_pixels: int | None = None
    overwrite: Annotated[bool, Flag] = False
    skip_existing: Annotated[bool, Flag] = False
    resume: Annotated[bool, Flag] = False
    spill: Path | None = None
    route_map: str | None = None
    json_: Annotated[Path | None, Parameter(name="--json")] = None


def produce(
    inputs: list[Path],
    asked: Asked,
    *,
    output: str | None,
    model: str | None,
    size: "Size",
    restoring: bool,
    name: str,
    projection: "Projection",
    alpha: "AlphaBy",
) -> int:
    """Make a picture of every picture, and say what was done.

    Args:
        inputs: files, folders and patterns, or - for standard input.
        asked: the options.
        output: file, folder or `folder/`; None for beside each input.
        model: name or file; None for the embedded ones that enlarge.
        size: of the results.
        restoring: the model is to be one that restores, at scale 1.
        name: template of the results' names.
        projection: whether the pictures are panoramas.
        alpha: what enlarges transparency.

    Returns:
        The exit code: 3 if a picture of many failed.
    """
    budget = Budget(
        attention_ratio=asked.attention_ratio,
        max_share=asked.max_share,
        seconds=asked.seconds,
        memory=None if asked.memory is None else parse_size(asked.memory, "--memory"),
        spill=asked.spill,
        resume=asked.resume,
    )
    if asked.tile != "auto" and not asked.tile.isdecimal():
        raise UsageError(f"--tile must be auto, 0 or a multiple of 64, got {asked.tile!r}")
    if asked.overwrite + asked.skip_existing + asked.resume > 1:
        raise UsageError("--overwrite, --skip-existing and --resume exclude each other; give one of them")
    if asked.max_pixels is not None and asked.max_pixels < 1:
        raise UsageError(f"--max-pixels must be at least 1, got {asked.max_pixels}")
    from camixersr.image.codec import MAX_PIXELS
    from camixersr.image.files import make_folder, replacing, require_writable
    from camixersr.image.formats import WRITABLE, WriteOptions, format_of
    from camixersr.runs.find import STREAM, find
    from camixersr.runs.manifest import MANIFEST, Manifest
    from camixersr.runs.pipeline import run
    from camixersr.runs.targets import (
        check_template,
        default_folder,
        is_folder,
        plan,
        require_apart,
        without_results,
    )

    check_template(name)
    options = WriteOptions(asked.quality, asked.subsampling, asked.compression, asked.lossless, asked.strip)
    if asked.format_ is not None:
        options.require_use(format_of(f".{asked.format_}").kind)
    target = None if output is None else Path(output)
    if target is not None and target.suffix.lower() in WRITABLE and not target.is_dir():
        options.require_use(format_of(target.suffix).kind)
    from camixersr.cli.pictures import Models, Pictures, Settings, refuse_existing, say
    from camixersr.cli.side_by_side import Did, share

    side: int | Literal["auto"] = "auto" if asked.tile == "auto" else int(asked.tile)
    models = Models(
        model,
        asked.device,
        asked.precision,
        side,
        backend=asked.backend,
        routing=asked.routing,
        restoring=restoring,
    )
    models.require(size)
    label = size.label(models.default_scale)
    target = target or default_folder(inputs, size=label, template=name)
    found = find(inputs, output=target, say=say)
    many = len(found) > 1 or found[0].searched
    if target is None and found[0].source == STREAM:
        target = STREAM
    folder = target is not None and is_folder("-o", output or target, many=many)
    route_folder = asked.route_map is not None and is_folder("--route-map", asked.route_map, many=many)
    if target == STREAM and sys.stdout.isatty():
        raise UsageError("a picture is not for a terminal; name a file with -o")
    suffix = f".{asked.format_}" if asked.format_ else ""
    jobs = plan(
        found,
        output=target,
        folder=folder,
        size=label,
        template=name,
        suffix=suffix,
        route_map=None if asked.route_map is None else Path(asked.route_map),
        route_folder=route_folder,
    )
    jobs = without_results(jobs, named=asked.skip_existing, say=say)
    require_apart(
        jobs,
        {
            "the record of the run": target / MANIFEST if target is not None and folder else None,
            "the model": Path(model) if model and Path(model).is_file() else None,
            "the facts (--json)": asked.json_,
        },
    )
    if asked.resume and many and (target is None or not target.is_dir()):
        raise UsageError("--resume needs the folder of the interrupted run; name it with -o")
    for place, needed in ((target, folder), (asked.route_map, route_folder)):
        if needed and place is not None:
            make_folder(Path(place))
    existing = (
        "overwrite"
        if asked.overwrite
        else "skip"
        if asked.skip_existing
        else "resume"
        if asked.resume
        else "refuse"
    )
    settings = Settings(
        size=size,
        budget=budget,
        color="srgb" if asked.strip else asked.color,
        alpha_by=alpha,
        options=options,
        max_pixels=asked.max_pixels or MAX_PIXELS,
        suffix=suffix,
        existing=existing,
        name=name,
        projection=projection,
        folder=target if many else None,
    )
    if asked.json_ is not None:
        if not (asked.overwrite or asked.resume):
            refuse_existing(asked.json_)
        require_writable(asked.json_)
    manifest: Manifest | None = None
    if target is not None and many and (asked.resume or any(each.searched for each in found)):
        manifest = Manifest(target / MANIFEST)
    # of several pictures each is computed by one device, a single one by all
    shared = len(models.devices) > 1 and len(jobs) > 1 and all(job.source != STREAM for job in jobs)
    with Bars(len(jobs)) as bar:
        try:
            if shared:
                did = share(models, settings, jobs, manifest, bar)
            else:
                pictures = Pictures(models, settings, jobs, manifest, bar)
                failures = run(
                    jobs,
                    decode=pictures.decode,
                    compute=pictures.compute,
                    encode=pictures.encode,
                    finished=bar.finished,
                )
                did = Did(failures, pictures.facts, pictures.skipped)
        finally:
            if manifest is not None:
                manifest.close()
    order = {str(job.source): number for number, job in enumerate(jobs)}
    failures, facts = did.failures, sorted(did.facts, key=lambda each: order[each["input"]])
    if failures and not many:
        raise failures[0].cause
    if asked.json_ is not None:
        with replacing(asked.json_) as partial:
            partial.write_text(json.dumps(facts if many else facts[0] if facts else {}, indent=2) + "\n")
    for failure in failures:
        print(f"camixersr: {' '.join(str(failure.error).split())}", file=sys.stderr)
    if did.skipped:
        print(f"camixersr: {did.skipped} of {len(jobs)} pictures were there already", file=sys.stderr)
    if failures:
        print(f"camixersr: {len(failures)} of {len(jobs)} pictures failed", file=sys.stderr)
    return 3 if failures else 0
