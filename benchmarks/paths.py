"""How far apart the native core's paths are: the same photographs through every set of instructions.

    python benchmarks/paths.py PHOTO... [--model s-x4] [--ratios 0.25 0.5 1] [--json FILE]

Each photograph is reduced by the model's scale and enlarged again, with the model's own thresholds. Every
path is compared with the first one, AVX2: the least PSNR over the photographs, and how many of the 8-bit
values differ at all and by more than 1, with the largest difference. Paths that this processor lacks are
left out aloud.
"""

import argparse
import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from camixersr.backends.choose import make
from camixersr.backends.native import Native
from camixersr.catalogue import find
from camixersr.image.decode import read
from camixersr.image.resize import resize
from camixersr.models.pools import PoolCells
from camixersr.native.core import FORCE, PATHS, path_for
from camixersr.speed.machine import describe
from camixersr.tensors import from_array


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photos", type=Path, nargs="+")
    parser.add_argument("--model", default="s-x4")
    parser.add_argument("--ratios", type=float, nargs="+", default=[0.25, 0.5, 1.0])
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    model = find(given.model)
    if model.calibration is None:
        parser.error(f"{given.model} has no thresholds")
    paths = {}
    # the oldest of fp32 first: what the others are compared with
    for path, precision in [(path, p) for p, known in PATHS.items() for path in reversed(known)]:
        os.environ[FORCE] = path
        if path_for(precision) is None:
            print(f"{path}: not on this processor, left out")
            continue
        paths[path] = made = make(model, "native", device="cpu", precision=precision)
        assert isinstance(made, Native)
        assert made.path == path
    rows: list[dict[str, Any]] = []
    names = list(paths)
    for ratio in given.ratios:
        policy = model.calibration.at(ratio)
        found = {name: {"psnr": np.inf, "differ": 0, "by_more": 0, "most": 0} for name in names}
        values = 0
        for file in given.photos:
            photo = read(file).pixels
            height, width = (length // model.config.scale for length in photo.shape[:2])
            low = from_array(resize(photo, height=height, width=width))[None].numpy()
            pool = PoolCells(model.config.pool)
            high = {name: np.clip(paths[name].route(low, policy, pool).high, 0, 1) for name in names}
            first = high[names[0]].astype(np.float64)
            values += first.size
            for name in names:
                error = np.mean((high[name] - first) ** 2)
                apart = np.abs(np.rint(high[name] * 255) - np.rint(high[names[0]] * 255)).astype(int)
                of = found[name]
                of["psnr"] = min(of["psnr"], -10 * np.log10(error) if error else np.inf)
                of["differ"] += int((apart > 0).sum())
                of["by_more"] += int((apart > 1).sum())
                of["most"] = max(of["most"], int(apart.max()))
        for name in names[1:]:
            of = found[name]
            print(
                f"ratio {ratio:4}  {name:12} {of['psnr']:6.1f} dB at least, {of['differ']} of {values} "
                f"values differ, {of['by_more']} by more than 1, {of['most']} at most",
                flush=True,
            )
            rows.append({"ratio": ratio, "path": name, "values": values, **of})
    if given.json:
        facts = {"model": given.model, "photos": len(given.photos), "rows": rows, **describe()}
        given.json.write_text(json.dumps(facts, indent=1) + "\n")


if __name__ == "__main__":
    main()
