"""Models on several sets: the rows, all that they depend on, and what was wrong; for JSON and CSV."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TextIO

from camixersr.data import BenchmarkSet
from camixersr.evaluation.score import Protocol, Row, evaluate, protocol_facts, row_facts
from camixersr.inference.computer import Computer
from camixersr.weights import Model

__all__ = ["Evaluation", "computing_facts", "evaluate_sets"]

SCORES = ("seam", "elsewhere", "rgb", "psnr_b")
"""Scores that only some protocols have."""


@dataclass(frozen=True)
class Evaluation:
    """What came of it.

    Attributes:
        rows: of all sets.
        facts: that the rows depend on, ready for JSON.
        problems: what is wrong with the sets, a line each.
    """

    rows: tuple[Row, ...]
    facts: dict[str, Any]
    problems: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """Everything, each picture's scores included."""
        return {
            "protocol": self.facts,
            "rows": [row_facts(row) for row in self.rows],
            "problems": list(self.problems),
        }

    def write_csv(self, stream: TextIO) -> None:
        """Write a line a picture, model and ratio.

        Args:
            stream: a text file, opened with newline="".
        """
        writer = csv.writer(stream)
        head = ("set", "model", "attention_ratio", "image", "psnr", "ssim", "seconds", "macs")
        writer.writerow([*head, "attention_share", *SCORES])
        for row in self.rows:
            for score in row.images:
                more = [getattr(score, name) for name in SCORES]
                writer.writerow(
                    [
                        row.set,
                        row.model,
                        "" if row.attention_ratio is None else row.attention_ratio,
                        score.name,
                        f"{score.psnr:.6f}",
                        f"{score.ssim:.6f}",
                        f"{score.seconds:.4f}",
                        score.macs,
                        f"{score.attention_share:.4f}",
                        *("" if value is None else f"{value:.6f}" for value in more),
                    ]
                )


def evaluate_sets(
    computers: Sequence[Computer],
    sets: Sequence[BenchmarkSet],
    *,
    attention_ratios: Sequence[float],
    protocol: Protocol,
) -> Evaluation:
    """Score models on sets, one after another.

    Args:
        computers: models of one scale and of different names.
        sets: see `camixersr.data.open_set`.
        attention_ratios: each in [0, 1].
        protocol: see `evaluate`.

    Raises:
        UsageError: no such protocol, or models that do not go together.
        InputError: a set without a picture that fits.
    """
    rows: list[Row] = []
    problems: list[str] = []
    for each in sets:
        scored, wrong = evaluate(computers, each, attention_ratios=attention_ratios, protocol=protocol)
        rows += scored
        problems += wrong
    facts = protocol_facts(protocol, computers[0].scale, sets) | computing_facts(computers)
    facts["tile"] = computers[0].tile
    return Evaluation(tuple(rows), facts, tuple(problems))


def computing_facts(computers: Sequence[Computer]) -> dict[str, Any]:
    """What computed, ready for JSON; without computers the names alone."""
    return {
        "device": computers[0].device if computers else "",
        "backend": {each.model.name: each.backend.name for each in computers},
        "precision": computers[0].precision if computers else "",
        "policy": {each.model.name: _policy(each.model) for each in computers},
        "sha256": {each.model.name: each.model.sha256 for each in computers},
    }


def _policy(model: Model) -> str:
    if model.classes is not None:
        return "a network a class" if model.branches else "classes"
    return "top share" if model.calibration is None else "calibrated thresholds"
