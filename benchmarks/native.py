"""Every path of the native core beside torch and the plain reference, in processor time.

    python benchmarks/native.py PHOTO [--ratios 0 0.5 1] [--rounds 3] [--size 960 540] [--model s-x4]

Contenders compute with one thread, in turns, each time in a process of its own, the second of two runs.
Medians of the rounds, in microseconds a low pixel; the machine may be busy. Ratios are shares of windows.
For seconds with all threads, on a machine that does nothing else: `benchmarks/runtimes.py`.
"""

import argparse
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import torch

from camixersr.backends.choose import make
from camixersr.catalogue import find
from camixersr.image.decode import read
from camixersr.image.resize import resize
from camixersr.native.core import FORCE, PATHS, path_for
from camixersr.nn.pool import pool_image
from camixersr.nn.routing import TopShare
from camixersr.speed.contenders import PIECE
from camixersr.speed.reference import Reference
from camixersr.tensors import from_array


def measure(name: str, precision: str, given: argparse.Namespace) -> float:
    """Microseconds of one thread a low pixel, here and now."""
    torch.set_num_threads(1)
    model, policy = find(given.model), TopShare(given.ratios[0])
    width, height = given.size
    low = from_array(resize(read(given.photo).pixels, height=height, width=width))[None]
    if name == "reference":
        network = Reference(model.network)
        pieces = [part for strip in low.split(PIECE, 2) for part in strip.split(PIECE, 3)]

        def compute() -> None:
            with torch.inference_mode():
                for piece in pieces:
                    network(piece, policy)
    else:
        backend = make(model, name, device="cpu", precision=precision)

        def compute() -> None:
            backend.route(low.numpy(), policy, pool_image)

    taken = []
    for _ in range(2):
        began = time.process_time()
        compute()
        taken.append(time.process_time() - began)
    return 1e6 * taken[1] / (width * height)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photo", type=Path)
    parser.add_argument("--model", default="s-x4")
    parser.add_argument("--ratios", type=float, nargs="+", default=[0.0, 0.5, 1.0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--size", type=int, nargs=2, default=[960, 540])
    parser.add_argument("--one", nargs=2, help="what a process measures: a backend and a precision")
    given = parser.parse_args()
    if given.one:
        print(measure(*given.one, given))
        return
    contenders = [("reference", "fp32", ""), ("torch", "fp32", ""), ("torch", "bf16", "")]
    for precision, paths in PATHS.items():
        for path in paths:
            os.environ[FORCE] = path
            if path_for(precision):
                contenders.append(("native", precision, path))
    print("| contender |" + "".join(f" {ratio:g} |" for ratio in given.ratios))
    print("|---|" + "---|" * len(given.ratios))
    taken: dict[tuple[str, str, str], dict[float, list[float]]] = {each: {} for each in contenders}
    for _ in range(given.rounds):
        for ratio in given.ratios:
            for each in contenders:
                name, precision, path = each
                arguments = [given.photo, "--model", given.model, "--ratios", ratio, "--size", *given.size]
                done = subprocess.run(
                    [sys.executable, __file__, *map(str, arguments), "--one", name, precision],
                    env=os.environ | {FORCE: path},
                    capture_output=True,
                    text=True,
                    check=True,
                )
                taken[each].setdefault(ratio, []).append(float(done.stdout))
    for each in contenders:
        figures = [statistics.median(taken[each][ratio]) for ratio in given.ratios]
        print(f"| {' '.join(each).strip()} |" + "".join(f" {figure:.2f} |" for figure in figures))


if __name__ == "__main__":
    main()
