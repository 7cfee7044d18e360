"""ClassSR against the model beneath it: PSNR, multiply-adds and seconds at several attention ratios.

    python benchmarks/classsr.py runs/classsr-s-x4/classsr-s-x4.safetensors "$DATA"/bench/BSD100/x4

Every picture is enlarged in one piece by each setting in turn, on one thread, by the network prepared
for the CPU; the classifier's time and multiply-adds are in. Luma PSNR, border of the scale, 8-bit
rounding, mean over pictures. Seconds are ratios: of each picture to its own seconds by the plain model
at ratio 0.5, then the median over pictures. "seen" is the share of windows times blocks attended.

Options:
    --base MODEL     the plain model, instead of the one in the file (where joint steps changed it)
    --top-share      shares of each picture's (or class's) windows instead of thresholds
    --classes A,B,C  the classes' ratios, instead of the file's
    --every N        every Nth picture of the set only
    --large PICTURE  also seconds on this picture's middle, 2048 x 2048, reduced to 512 x 512
    --json FILE      keep what was measured after every picture, and go on with what is there
                     (tools/results.py makes the tables of docs/classsr.md of it)
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from camixersr.backends.folded import Folded
from camixersr.catalogue import find
from camixersr.data import open_set, read_rgb
from camixersr.image.files import replacing
from camixersr.image.resize import resize
from camixersr.metrics import luma, psnr
from camixersr.models import CAMixerSR, Classes
from camixersr.models.classes import ByClass
from camixersr.models.classsr import windows_of
from camixersr.nn.routing import Policy, Routing
from camixersr.operations import count, count_classifier
from camixersr.tensors import from_array, to_array
from camixersr.weights import Model

RATIOS = (0.0, 0.25, 0.5, 1.0)
DIALS = (0.25, 0.5)
MEASURED = ("psnr", "macs", "seen", "seconds")


@dataclass
class Row:
    """A setting and what came of it, picture by picture."""

    name: str
    run: Callable[[Tensor], tuple[Tensor, Routing, int]]
    psnr: list[float] = field(default_factory=list)
    macs: list[int] = field(default_factory=list)
    seen: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)


def plain(model: Model, ratio: float) -> Row:
    """The model without classes."""
    network = prepared(model)
    return Row(f"plain {ratio:g}", lambda low: (*network.route(low, model.policy(ratio)), 0))


def with_classes(model: Model, dial: float) -> Row:
    """The model with classes."""
    network, classes, policies = prepared(model), model.classes, model.class_policies(dial)
    assert classes is not None
    window = model.config.window

    def run(low: Tensor) -> tuple[Tensor, Routing, int]:
        height, width = low.shape[-2:]
        patches = classes.classifier.classes(low)
        own = windows_of(patches, -(-height // window), -(-width // window), window)
        policy: Policy = ByClass(policies, own)
        return (*network.route(low, policy), count_classifier(patches.numel()))

    ratios = ", ".join(f"{ratio:g}" for ratio in classes.at(dial))
    return Row(f"classes {ratios}", run)


def prepared(model: Model) -> Folded:
    """Its network, prepared for the CPU."""
    assert isinstance(model.network, CAMixerSR)
    return Folded(model.network)


def measure(row: Row, low: Tensor, high: np.ndarray | None, model: Model) -> None:
    """Enlarge one picture."""
    began = time.perf_counter()
    result, routing, extra = row.run(low)
    row.seconds.append(time.perf_counter() - began)
    attended, windows = int(routing.attended.sum()), routing.rows * routing.columns
    row.macs.append(count(model.config, windows=windows, attended=attended).total + extra)
    row.seen.append(attended / (windows * len(routing.blocks)))
    if high is not None:
        made = to_array(result[0])
        row.psnr.append(psnr(luma(made), luma(high), border=model.config.scale))


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("set", nargs="?")
    parser.add_argument("--base")
    parser.add_argument("--top-share", action="store_true")
    parser.add_argument("--classes")
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--large", type=Path, nargs="*", default=[])
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(1)
    model = find(given.model)
    base = find(given.base) if given.base else replace(model, classes=None)
    if given.classes and model.classes is not None:
        ratios = tuple(float(ratio) for ratio in given.classes.split(","))
        model = replace(model, classes=Classes(model.classes.classifier, ratios))
    if given.top_share:
        model, base = replace(model, calibration=None), replace(base, calibration=None)
    rows = [plain(base, ratio) for ratio in RATIOS] + [with_classes(model, dial) for dial in DIALS]
    chosen = open_set(given.set).pairs[:: given.every] if given.set else ()
    pairs = [pair.read(model.config.scale) for pair in chosen]
    pictures: list[tuple[np.ndarray, np.ndarray | None]] = [*pairs]
    for path in given.large:
        pixels = read_rgb(path)
        top, left = ((length - 2048) // 2 for length in pixels.shape[:2])
        middle = np.ascontiguousarray(pixels[top : top + 2048, left : left + 2048])
        pictures.append((resize(middle, height=512, width=512), None))
    routing = "top share" if base.calibration is None else "thresholds"
    facts = {
        "model": model.name,
        "sha256": model.sha256,
        "base": base.name,
        "base_sha256": base.sha256,
        "classes": list(model.classes.ratios) if model.classes else [],
        "routing": routing,
        "every": given.every,
    }
    if given.json and given.json.exists():
        kept = json.loads(given.json.read_text())
        if any(kept[name] != value for name, value in facts.items()):
            parser.exit(2, f"{given.json}: has measurements of something else; give another FILE\n")
        for row in rows:
            for name in MEASURED:
                getattr(row, name).extend(kept["rows"][row.name][name])
    done = len(rows[0].macs)
    with torch.inference_mode():
        for number, (low, high) in enumerate(pictures[done:], start=done):
            for row in rows[number % len(rows) :] + rows[: number % len(rows)]:
                if number == done:
                    row.run(from_array(low)[None])  # the first time is slower
                measure(row, from_array(low)[None], high, base)
            if given.json:
                found = {row.name: {name: getattr(row, name) for name in MEASURED} for row in rows}
                with replacing(given.json) as partial:
                    partial.write_text(json.dumps({**facts, "rows": found}) + "\n")
    half = next(row for row in rows if row.name == "plain 0.5")
    print(f"{len(pictures)} pictures, {base.name}, {routing}")
    print("| setting | PSNR dB | seen % | GMACs | seconds / plain 0.5 |\n|---|---|---|---|---|")
    for row in rows:
        ratio = statistics.median(a / b for a, b in zip(row.seconds, half.seconds, strict=True))
        score = f"{statistics.fmean(row.psnr):.3f}" if row.psnr else ""
        share, macs = 100 * statistics.fmean(row.seen), statistics.fmean(row.macs) / 1e9
        print(f"| {row.name} | {score} | {share:.1f} | {macs:.3f} | {ratio:.2f} |")


if __name__ == "__main__":
    main()
