"""Peak memory and time of `camixersr upscale` against the size of the picture.

Low pictures of the given sizes are made by repeating a photograph, enlarged by the command line in a
process of its own, and that process's resident memory is watched from outside (its high-water mark,
read every 20 ms, since the program itself resets the mark when it starts to compute).

    python benchmarks/memory.py PHOTO [--sizes 1 8 40 120] [--model s-x4] [--json FILE]

`--model tiny` is a random network of one block and 8 channels: its memory differs from a real one's in
the tile alone, so that it shows in minutes what does not depend on the network: that nothing grows.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pyvips
import torch

import camixersr
from camixersr.models import CAMixerSR, CAMixerSRConfig
from camixersr.weights import Model, save


def make_low(photo: Path, megapixels: float, target: Path) -> None:
    """A picture of 6 : 5, the photograph repeated."""
    width = round((megapixels * 1e6 * 1.2) ** 0.5)
    height = round(megapixels * 1e6 / width)
    image = pyvips.Image.new_from_file(str(photo)).autorot()
    image = image.replicate(-(-width // image.width), -(-height // image.height))
    image.crop(0, 0, width, height).write_to_file(str(target))


def watched(command: list[str]) -> tuple[int, float]:
    """Run it; peak resident bytes and seconds."""
    began = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    status, peak = Path(f"/proc/{process.pid}/status"), 0
    while process.poll() is None:
        try:
            for line in status.read_text().splitlines():
                if line.startswith("VmHWM:"):
                    peak = max(peak, int(line.split()[1]) * 1024)
        except OSError:
            pass
        time.sleep(0.02)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {process.returncode}")
    return peak, time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photo", type=Path)
    parser.add_argument("--sizes", nargs="+", type=float, default=[1, 8, 40, 120], help="low Mpx")
    parser.add_argument("--model", default="s-x4")
    parser.add_argument("--attention-ratio", type=float, default=0.0)
    parser.add_argument("--suffix", default=".png", help="of the result")
    parser.add_argument("--memory", help="handed on to upscale")
    parser.add_argument("--folder", type=Path, help="for the files, instead of the system's temporary one")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        model = options.model
        if model == "tiny":
            torch.manual_seed(0)
            model = str(folder / "tiny.safetensors")
            network = CAMixerSR(CAMixerSRConfig(channels=8, scale=4, blocks=(1,)))
            save(model, Model("tiny", network.eval().requires_grad_(False)))
        for size in options.sizes:
            source, target, facts = (
                folder / "low.jpg",
                folder / f"high{options.suffix}",
                folder / "facts.json",
            )
            make_low(options.photo, size, source)
            command = [sys.executable, "-m", "camixersr", "upscale", str(source), "-o", str(target)]
            command += ["--model", model, "--device", "cpu", "--json", str(facts)]
            command += ["--attention-ratio", str(options.attention_ratio)]
            command += ["--memory", options.memory] if options.memory else []
            peak, seconds = watched(command)
            told = json.loads(facts.read_text())
            row = {
                "low_megapixels": round(told["low_size"][0] * told["low_size"][1] / 1e6, 3),
                "high_size": told["high_size"],
                "tile": told.get("tile"),
                "peak_mb": round(peak / 2**20),
                "predicted_mb": round(told.get("predicted_memory_bytes", 0) / 2**20),
                "told_mb": round((told["peak_memory_bytes"] or 0) / 2**20),
                "seconds": round(seconds, 1),
                "microseconds_a_low_pixel": round(
                    told["seconds"] / (told["low_size"][0] * told["low_size"][1]) * 1e6, 2
                ),
                "attention_share": told["attention_share"],
            }
            rows.append(row)
            print(json.dumps(row), flush=True)
            for path in (source, target, facts):
                path.unlink()
    if options.json:
        about = {
            "version": camixersr.__version__,
            "torch": torch.__version__,
            "machine": f"{platform.machine()}, {os.cpu_count()} cores",
            "model": options.model,
            "command": " ".join(["python", "benchmarks/memory.py", *sys.argv[1:]]),
        }
        options.json.write_text(json.dumps({"about": about, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
