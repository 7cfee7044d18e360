"""Train several networks alike, and say which does what: at equal steps, patches and seeds.

Every variant has a folder of its own, and what is finished there is not done again, so that a comparison
can be stopped, continued and added to.
"""

import json
import logging
import sys
import time
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from statistics import fmean, median
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file as load_tensors
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from camixersr.data import open_set
from camixersr.errors import CamixerError, InputError, MissingExtraError, UsageError
from camixersr.extras import install_line
from camixersr.image.files import make_folder, replacing
from camixersr.models import Backbone, BackboneConfig, Trainable, presets
from camixersr.nn.routing import TopShare
from camixersr.tensors import from_array
from camixersr.train.findings import RATIOS, Finding, write_findings
from camixersr.train.fit import fit
from camixersr.train.recipe import Recipe, load_recipe
from camixersr.train.score import Images, score
from camixersr.weights import load_file

__all__ = ["Variant", "compare", "count_macs", "main"]

logger = logging.getLogger(__name__)

SIDE = 128
"""Side of the low picture whose MACs and seconds are told."""

ROUNDS = 5


@dataclass(frozen=True)
class Variant:
    """One variant.

    Attributes:
        name: of its row and folder.
        recipe: how it is trained; its `output` and `seed` are not looked at.
        make: makes a fresh network of one's own; None for the recipe's preset.
    """

    name: str
    recipe: Recipe
    make: Callable[[], Backbone] | None = None


def compare(
    entries: Sequence[Variant], output: Path, *, data: Sequence[Path] = (), seeds: Sequence[int] = (0,)
) -> list[Path]:
    """Train what is not trained yet, score and time all, and write the findings.

    Every network is scored with the best-scored share of each picture's windows, `TopShare`. Scores,
    seconds and multiply-adds are those of the networks as they are trained, not of faster ways to
    compute them.

    Args:
        entries: the first one is what the others are compared with.
        output: folder for the runs, `runs/<name>-<seed>`, and the findings.
        data: benchmark sets to score on, beside the recipe's `validation`.
        seeds: every entry is trained with each of them; all entries with the first seed first.

    Returns:
        `findings.md`, `.json`, `.csv` and `.png`.

    Raises:
        InputError: a run in the folder was made by another recipe; or there is no set to score on.
        MissingExtraError: matplotlib is not installed.
        UsageError: a recipe is for several devices, panoramas or scale 1.
        KeyboardInterrupt: stopped by a signal; the same call continues.
    """
    if find_spec("matplotlib") is None:  # said before hours of training, not after
        raise MissingExtraError(f"a plot needs the extra `report`; {install_line('report')}")
    for entry in entries:
        shape = entry.make().config if entry.make else presets().get(entry.recipe.model)
        enlarges = shape is None or shape.scale > 1  # `fit` complains of an unknown preset
        if entry.recipe.devices > 1 or entry.recipe.projection != "flat" or not enlarges:
            raise UsageError(
                "comparisons are for networks that enlarge flat photographs, and train on one device; "
                "set devices = 1, leave projection out of the recipe, and choose a scale above 1"
            )
    sets = _open(entries[0].recipe, data)
    make_folder(output)
    runs: dict[str, list[Mapping[str, Any]]] = {entry.name: [] for entry in entries}
    networks: dict[str, Trainable] = {}
    for seed in seeds:
        for entry in entries:
            network, facts = _run(entry, seed, output, sets)
            runs[entry.name].append(facts)
            networks.setdefault(entry.name, network)
    seconds = _time(networks)
    rows = [_row(entry.name, tuple(seeds), runs[entry.name], seconds[entry.name]) for entry in entries]
    recipe = entries[0].recipe
    facts = {
        "training": f"{recipe.steps} steps of {recipe.batch} patches of {recipe.patch} x {recipe.patch}, "
        f"x{next(iter(networks.values())).config.scale}, {recipe.optimizer}, "
        f"routing by {recipe.routing}; the same patches and draws for all with one seed",
        "scored": "luma, border of the scale cropped, 8-bit rounding; exactly the ratio of every "
        "picture's windows (TopShare); means over seeds",
        "seconds": f"of a low picture of {SIDE} x {SIDE}, as are the MACs: medians of {ROUNDS} rounds "
        f"in turns, {torch.get_num_threads()} thread(s), plain modules",
        "torch": torch.__version__,
    }
    return write_findings(output, rows, facts)


def _open(recipe: Recipe, data: Sequence[Path]) -> dict[str, Path]:
    """Sets by name."""
    folders = [*([Path(recipe.validation)] if recipe.validation else []), *data]
    if not folders:
        raise InputError("expected a set to score on; name one as the recipe's `validation` or --data")
    sets = {open_set(folder).name: folder for folder in folders}
    if len(sets) < len(folders):
        raise InputError(f"expected sets of different names, got {', '.join(map(str, folders))}")
    return sets


def _read(folder: Path, scale: int) -> Images:
    found = open_set(folder)
    if found.problems:
        raise InputError(found.problems[0])
    return [pair.read(scale) for pair in found.pairs]


def _told(entry: Variant, seed: int) -> dict[str, Any]:
    """All that a training depends on, as JSON has it."""
    recipe = _plain(replace(entry.recipe, seed=seed, output=""))
    return recipe | (_plain(entry.make().config) if entry.make else {})


def _plain(record: Recipe | BackboneConfig) -> dict[str, Any]:
    """As JSON has it."""
    return json.loads(json.dumps(asdict(record)))


def _run(
    entry: Variant, seed: int, output: Path, sets: Mapping[str, Path]
) -> tuple[Trainable, Mapping[str, Any]]:
    """Train and score one network, or read what came of it before."""
    folder = output / "runs" / f"{entry.name}-{seed}"
    file, record = folder / f"{entry.name}.safetensors", folder / "run.json"
    told = _told(entry, seed)
    begun = folder / "begun.json"
    if begun.exists():
        # keys that recipes have got since were not set then
        before = _plain(Recipe(photos="", output="")) | json.loads(begun.read_text(encoding="utf-8"))
        other = [name for name in told if told[name] != before.get(name)]
        if other:
            raise InputError(
                f"{folder}: begun with another {', '.join(other)}; choose another folder for the "
                "comparison, or remove this one"
            )
    make_folder(folder)
    with replacing(begun) as partial:
        partial.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    recipe = entry.recipe
    often = min(recipe.validate_every, recipe.steps)  # a checkpoint at the end, whatever the budget
    recipe = replace(recipe, seed=seed, output=str(folder), validate_every=often)
    if not file.exists():
        logger.info("%s, seed %d: %d steps", entry.name, seed, recipe.steps)
        torch.manual_seed(seed)
        own = entry.make() if entry.make else None
        fit(recipe, network=own, resume=True, name=entry.name, cache=output / "cache")
    network = _load(entry, file)
    if record.exists():
        known = json.loads(record.read_text(encoding="utf-8"))
        if list(known["psnr"]) == list(sets):
            return network, known
    facts: dict[str, Any] = {**_score(network, sets), "minutes": _minutes(folder)}
    with replacing(record) as partial:
        partial.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    shown = ", ".join(f"{name} {values[len(values) // 2]:.3f} dB" for name, values in facts["psnr"].items())
    logger.info("%s, seed %d: %s", entry.name, seed, shown)
    return network, facts


def _load(entry: Variant, file: Path) -> Trainable:
    if entry.make is None:
        return load_file(file).network
    network = entry.make()
    network.load_state_dict(load_tensors(file))
    return network.eval().requires_grad_(False)


def _minutes(folder: Path) -> float:
    """Of training, over all resumptions; the last checkpoint knows."""
    checkpoint = torch.load(
        folder / "checkpoints" / "last.ckpt", map_location="cpu", weights_only=False, mmap=True
    )
    return float(checkpoint["seconds"]) / 60


@torch.no_grad()
def _score(network: Trainable, sets: Mapping[str, Path]) -> dict[str, Any]:
    """PSNR at every ratio, spread of the scores, size and cost."""
    psnr: dict[str, list[float]] = {}
    spread: list[float] = []
    for number, (name, folder) in enumerate(sets.items()):
        images = _read(folder, network.config.scale)
        if not network.block_count:
            psnr[name] = [score(network, images, TopShare(0.5))] * len(RATIOS)
            continue
        psnr[name] = [score(network, images, TopShare(ratio)) for ratio in RATIOS]
        if number == 0:
            spread = [_spread(network, low) for low, _ in images]
    macs = [count_macs(network, ratio) for ratio in (RATIOS if network.block_count else (0.5,))]
    return {
        "psnr": psnr,
        "spread": fmean(spread) if spread else 0.0,
        "weights": sum(parameter.numel() for parameter in network.parameters()),
        "mixers": network.block_count,
        "macs": macs if network.block_count else macs * len(RATIOS),
    }


def _spread(network: Trainable, low: NDArray[np.uint8]) -> float:
    """Standard deviation of a picture's scores in a block, a mean over blocks."""
    image = from_array(low)[None]
    _, routing = network.route(image, TopShare(0.5))
    return fmean(float(block.scores.std(correction=0)) for block in routing.blocks)


@torch.no_grad()
def count_macs(network: Trainable, ratio: float, *, side: int = SIDE) -> int:
    """Multiply-adds of one square picture: convolutions, matrix products, attention's two products.

    Args:
        network: any.
        ratio: gamma in [0, 1].
        side: of the low picture, in pixels.

    Returns:
        MACs; the bilinear warp, activations and other element-wise work are not counted, as usual.
    """
    counter = FlopCounterMode(display=False)
    with counter, sdpa_kernel(SDPBackend.MATH):  # the fused kernel of a CPU is not counted
        network(torch.rand(1, 3, side, side), TopShare(ratio))
    return counter.get_total_flops() // 2


@torch.no_grad()
def _time(networks: Mapping[str, Trainable]) -> dict[str, tuple[float, ...]]:
    """Seconds of one picture at every ratio; all take turns."""
    low = torch.rand(1, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    seen: dict[tuple[str, float], list[float]] = {}
    for turn in range(ROUNDS + 1):
        for name, network in networks.items():
            for ratio in RATIOS if network.block_count else (0.5,):
                began = time.perf_counter()
                network(low, TopShare(ratio))
                if turn:  # the first round warms up
                    seen.setdefault((name, ratio), []).append(time.perf_counter() - began)
    return {
        name: tuple(median(seen[name, ratio if network.block_count else 0.5]) for ratio in RATIOS)
        for name, network in networks.items()
    }


def _row(
    name: str, seeds: tuple[int, ...], runs: Sequence[Mapping[str, Any]], seconds: tuple[float, ...]
) -> Finding:
    return Finding(
        name=name,
        seeds=seeds,
        weights=runs[0]["weights"],
        mixers=runs[0]["mixers"],
        macs=tuple(runs[0]["macs"]),
        seconds=seconds,
        psnr={
            which: tuple(tuple(run["psnr"][which][place] for run in runs) for place in range(len(RATIOS)))
            for which in runs[0]["psnr"]
        },
        spread=tuple(run["spread"] for run in runs),
        minutes=tuple(run["minutes"] for run in runs),
    )


def main(
    networks: Mapping[str, Callable[[], Backbone]],
    about: str | None,
    arguments: Sequence[str] | None = None,
) -> None:
    """The command line of a comparison of networks of one's own, as `examples/` have it.

    Args:
        networks: makers by name; the first one is what the others are compared with.
        about: the text of `--help`.
        arguments: instead of the process's own.
    """
    parser = ArgumentParser(description=about, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("-o", "--output", type=Path, help="for runs and findings; default: the recipe's")
    parser.add_argument("--data", type=Path, nargs="+", default=[], help="more sets to score on")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--only", nargs="+", choices=list(networks), help="leave the others out")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        recipe = load_recipe(options.recipe)
        entries = [
            Variant(name, recipe, make)
            for name, make in networks.items()
            if options.only is None or name in options.only
        ]
        files = compare(
            entries, options.output or Path(recipe.output), data=options.data, seeds=options.seeds
        )
    except CamixerError as error:
        parser.exit(error.exit_code, f"{parser.prog}: {' '.join(str(error).split())}\n")
    sys.stdout.write(files[0].read_text(encoding="utf-8") + "\n")
