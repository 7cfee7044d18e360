"""Scores of models on benchmark sets: `score` of some models on one set, `run` of several sets, written."""

from camixersr.evaluation.run import Evaluation, computing_facts, evaluate_sets
from camixersr.evaluation.score import (
    PAPER_PATCHES,
    PAPER_TILES,
    PUBLISHED_BICUBIC,
    ImageScore,
    Protocol,
    Row,
    evaluate,
    paper_tiles,
    paper_way,
    protocol_facts,
    row_facts,
)

__all__ = [
    "PAPER_PATCHES",
    "PAPER_TILES",
    "PUBLISHED_BICUBIC",
    "Evaluation",
    "ImageScore",
    "Protocol",
    "Row",
    "computing_facts",
    "evaluate",
    "evaluate_sets",
    "paper_tiles",
    "paper_way",
    "protocol_facts",
    "row_facts",
]
