"""The paper's tables: which sets, models, scales and protocol each has."""

from collections.abc import Mapping
from dataclasses import dataclass

from camixersr.data import BICUBIC, FISHEYES, Reduction
from camixersr.evaluation import Protocol
from camixersr.published import LARGE_SETS

__all__ = ["ABLATION", "TABLES", "Table"]

ABLATION = "ablation"
"""The table that is made of trainings: see `from_findings`."""

LIGHT_SETS = ("Set5", "Set14", "BSD100", "Urban100", "Manga109")


@dataclass(frozen=True, kw_only=True)
class Table:
    """What a table needs.

    Attributes:
        about: a few words.
        stated: whose published numbers stand beside it, see `Stated.table`.
        protocol: of `camixersr evaluate`.
        sets: their names.
        scales: of the models.
        models: names, those first that the paper has; empty: one's own must be given.
        ratios: attention ratios.
        reduction: makes low pictures where there are none.
        metrics: names of what is scored.
    """

    about: str
    stated: str
    protocol: Protocol
    sets: tuple[str, ...]
    scales: tuple[int, ...]
    models: tuple[str, ...]
    ratios: tuple[float, ...] = (1.0, 0.5)
    reduction: Reduction = BICUBIC
    metrics: tuple[str, ...] = ("PSNR", "SSIM")


TABLES: Mapping[str, Table] = {
    "lightweight": Table(
        about="lightweight networks, x2, x3 and x4",
        stated="lightweight",
        protocol="classic",
        sets=LIGHT_SETS,
        scales=(2, 3, 4),
        models=("official-b-x2", "s-x2", "official-b-x3", "s-x3", "official-b-x4", "official-s-x4", "s-x4"),
    ),
    "large": Table(
        about="large images, x4, whole and in tiles of 64 with an overlap of 4",
        stated="large",
        protocol="large",
        sets=LARGE_SETS,
        scales=(4,),
        models=("official-s-x4", "official-m-x4", "official-b-x4", "s-x4"),
    ),
    "omni": Table(
        about="360-degree panoramas, x2 and x4",
        stated="omni",
        protocol="erp",
        sets=("ODI-SR", "SUN360"),
        scales=(2, 4),
        models=("official-360-b-x2", "s-360-x2", "official-360-b-x4", "s-360-x4"),
        ratios=(0.5,),
        reduction=FISHEYES,
        metrics=("PSNR", "SSIM", "WS-PSNR", "WS-SSIM"),
    ),
    "gamma": Table(
        about="the sweep of the attention ratio, x4",
        stated="lightweight",
        protocol="classic",
        sets=LIGHT_SETS,
        scales=(4,),
        models=("official-s-x4", "s-x4"),
        ratios=(0.0, 0.25, 0.5, 0.75, 1.0),
    ),
    "classsr": Table(
        about="CAMixerSR inside ClassSR, x4, large images",
        stated="classsr",
        protocol="large",
        sets=LARGE_SETS,
        scales=(4,),
        models=("official-classsr-x4",),
        ratios=(0.5,),
    ),
}
"""The tables that are measured, by name."""
