"""Peak memory and time of `camixersr upscale` against the size of the picture, of a tiny network.

`camixersr benchmark --suite memory` measures real models. This measures a random network of one block
and 8 channels: its memory differs from a real one's in the tile alone, so that it shows in minutes, with
pictures as large as one likes, what does not depend on the network: that nothing grows. Low pictures
are made by repeating a photograph.

    python benchmarks/memory.py PHOTO [--sizes 1 8 40 120] [--suffix .jpg] [--json FILE]
"""

import argparse
import json
import shlex
import sys
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory

import pyvips
import torch

from camixersr.models import CAMixerSR, CAMixerSRConfig
from camixersr.speed.machine import describe
from camixersr.speed.memory import watch_upscale
from camixersr.weights import Model, save


def make_low(photo: Path, megapixels: float, target: Path) -> None:
    """A picture of 6 : 5, the photograph repeated."""
    width = round((megapixels * 1e6 * 1.2) ** 0.5)
    height = round(megapixels * 1e6 / width)
    image = pyvips.Image.new_from_file(str(photo)).autorot()
    image = image.replicate(-(-width // image.width), -(-height // image.height))
    image.crop(0, 0, width, height).write_to_file(str(target))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photo", type=Path)
    parser.add_argument("--sizes", nargs="+", type=float, default=[1, 8, 40, 120], help="low Mpx")
    parser.add_argument("--attention-ratio", type=float, default=0.0)
    parser.add_argument("--suffix", default=".png", help="of the result")
    parser.add_argument("--memory", help="handed on to upscale")
    parser.add_argument("--folder", type=Path, help="for the files, instead of the system's temporary one")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    rows = []
    with TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        torch.manual_seed(0)
        network = CAMixerSR(CAMixerSRConfig(channels=8, scale=4, blocks=(1,)))
        save(folder / "tiny.safetensors", Model("tiny", network.eval().requires_grad_(False)))
        how = ["--model", str(folder / "tiny.safetensors"), "--device", "cpu"]
        how += ["--attention-ratio", str(options.attention_ratio)]
        how += ["--memory", options.memory] if options.memory else []
        for size in options.sizes:
            source, target = folder / "low.jpg", folder / f"high{options.suffix}"
            make_low(options.photo, size, source)
            rows.append(asdict(watch_upscale(source, target, how)))
            print(json.dumps(rows[-1]), flush=True)
            target.unlink()
    if options.json:
        command = shlex.join(["python", "benchmarks/memory.py", *sys.argv[1:]])
        facts = {"command": command, **describe(), "model": "tiny", "rows": rows}
        options.json.write_text(json.dumps(facts, indent=1) + "\n")


if __name__ == "__main__":
    main()
