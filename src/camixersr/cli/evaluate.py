"""`camixersr evaluate`: score models on benchmark sets."""

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from camixersr.cli.talk import say
from camixersr.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from camixersr.evaluation import Row

__all__ = ["evaluate"]


def evaluate(
    *,
    model: Annotated[list[str], Parameter(negative=(), consume_multiple=True)],
    data: Annotated[list[Path], Parameter(negative=(), consume_multiple=True)],
    attention_ratio: Annotated[list[float] | None, Parameter(negative=(), consume_multiple=True)] = None,
    routing: Literal["auto", "top-share"] = "auto",
    protocol: Literal["auto", "classic", "large", "erp", "restoration"] = "auto",
    reduction: Literal["bicubic", "closed", "fisheye"] = "bicubic",
    quality: Annotated[list[int] | None, Parameter(negative=(), consume_multiple=True)] = None,
    sigma: Annotated[list[float] | None, Parameter(negative=(), consume_multiple=True)] = None,
    tile: int = 0,
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto",
    backend: Literal["auto", "fastest", "native", "torch", "compile", "onnxruntime", "openvino"] = "auto",
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto",
    json_: Annotated[Path | None, Parameter(name="--json")] = None,
    csv_: Annotated[Path | None, Parameter(name="--csv")] = None,
    report: Path | None = None,
) -> int:
    """Score models on benchmark sets, beside bicubic interpolation.

    Models that restore are scored beside their input.

    Parameters
    ----------
    model
        Names from `camixersr models list`, or files of weights. All have the same scale.
    data
        Folders, each with high/ and low/, or with high pictures only. Missing low pictures are made. For
        models that restore, --quality or --sigma says how.
    attention_ratio
        One or several attention ratios, each in [0, 1]. Default: 0.5.
    routing
        auto: calibrated thresholds if the model has them, so the ratio is an average over photographs.
        top-share: exactly that share of every picture's windows.
    protocol
        classic: luma, with a border as wide as the scale cropped. large: RGB without border, whole and cut
        into tiles as in the paper. erp: RGB of panoramas, weighted by the cosine of the latitude.
        Panoramas are enlarged as a sphere and flat, and the seam is scored separately.
        restoration: luma, RGB and PSNR-B without border. auto: restoration for models that restore, else
        classic.
    reduction
        How to make missing low pictures. bicubic: as MATLAB does. closed: bicubic around the sphere, so
        the low panoramas have no seam. fisheye: through two fisheye pictures, as cameras see panoramas.
    quality
        One or several JPEG qualities. Low pictures are made by compressing high ones at this quality.
        This is for models that undo JPEG.
    sigma
        One or several standard deviations of noise, in 8-bit steps. This is for models that remove noise.
    tile
        Side of a tile in low pixels: a multiple of 64 (of 16 for the authors' models), or 0 for whole
        pictures.
    device
        Where to compute.
    backend
        What computes, as for `camixersr upscale`.
    precision
        Number format to compute in. auto: fp32.
    json_
        Also write everything as JSON, with each picture's scores.
    csv_
        Also write a CSV file with a line for each picture, model and ratio.
    report
        Also write a page with plots and pictures into this folder. This needs the extra `report`.
    """
    ratios = [0.5] if attention_ratio is None else attention_ratio
    if not all(0.0 <= ratio <= 1.0 for ratio in ratios):
        raise UsageError(f"--attention-ratio must lie in [0, 1], got {', '.join(map(str, ratios))}")
    if reduction != "bicubic" and protocol != "erp":
        raise UsageError(f"--reduction {reduction} is for panoramas; add --protocol erp")
    from camixersr.catalogue import find
    from camixersr.cli.degraded import degradations
    from camixersr.data import BICUBIC, CLOSED, FISHEYES, degrading, open_set
    from camixersr.evaluation import evaluate_sets
    from camixersr.image.files import replacing, require_writable
    from camixersr.inference.computer import Computer

    for path in filter(None, (json_, csv_)):
        require_writable(path)
    way = {"bicubic": BICUBIC, "closed": CLOSED, "fisheye": FISHEYES}[reduction]
    models = [find(name) for name in model]
    if routing == "top-share":
        if by_class := [each.name for each in models if each.classes is not None]:
            raise UsageError(f"model {by_class[0]} routes by classes; leave --routing top-share out")
        models = [replace(each, calibration=None) for each in models]
    if len({each.name for each in models}) != len(models):
        raise UsageError("expected models of different names; rename one of the files")
    ways = [degrading(each) for each in degradations(models[0], quality=quality, sigma=sigma)] or [way]
    sets = [open_set(folder, each) for folder in data for each in ways]
    if protocol == "auto":
        protocol = "restoration" if models[0].restores else "classic"
    computers = [
        Computer(each, backend=backend, device=device, precision=precision, tile=tile, say=say)
        for each in models
    ]
    found = evaluate_sets(computers, sets, attention_ratios=ratios, protocol=protocol)
    _print(found.rows, found.facts)
    for problem in found.problems:
        print(f"camixersr: {problem}", file=sys.stderr)
    if json_ is not None:
        with replacing(json_) as partial:
            partial.write_text(json.dumps(found.as_json(), indent=1) + "\n", encoding="utf-8")
    if csv_ is not None:
        with replacing(csv_) as partial, partial.open("w", newline="", encoding="utf-8") as stream:
            found.write_csv(stream)
    if report is not None:
        from camixersr.report import write_report

        print(f"look at {write_report(report, found, sets, computers)}")
    return 3 if found.problems else 0


EXTRA = {
    "erp": {"seam": "seam dB", "elsewhere": "elsewhere dB"},
    "restoration": {"rgb": "RGB dB", "psnr_b": "PSNR-B dB"},
}
"""Scores beside the usual, and their headings, by protocol."""


def _print(rows: "Sequence[Row]", facts: dict[str, Any]) -> None:
    from statistics import fmean

    from rich.table import Table

    from camixersr.cli.tables import print_table

    table = Table("set", "model", "ratio", box=None, pad_edge=False)
    extra = EXTRA.get(facts["protocol"], {})
    published = ["published dB"] if any(row.published is not None for row in rows) else []
    for name in ("images", "PSNR dB", *published, "SSIM", *extra.values(), "attended", "GMACs", "seconds"):
        table.add_column(name, justify="right")
    for row in rows:
        ran = row.attention_ratio is not None
        table.add_row(
            row.set,
            row.model,
            f"{row.attention_ratio:g}" if ran else "",
            str(len(row.images)),
            f"{row.psnr:.3f}",
            *(["" if row.published is None else f"{row.published:.2f}"] if published else []),
            f"{row.ssim:.4f}",
            *(f"{fmean(getattr(score, part) for score in row.images):.3f}" for part in extra),
            f"{100 * fmean(score.attention_share for score in row.images):.0f} %" if ran else "",
            f"{fmean(score.macs for score in row.images) / 1e9:.2f}" if ran else "",
            f"{fmean(score.seconds for score in row.images):.2f}",
        )
    print_table(table)
    shown = (
        "protocol",
        "colour",
        "border",
        "rounding",
        "device",
        "precision",
        "tile",
        "low_images",
        "policy",
    )
    print("; ".join(f"{name}: {_plain(facts[name])}" for name in shown))


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {item}" for key, item in value.items())
    return str(value)
