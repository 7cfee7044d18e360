"""Models beside each other in one run: parameters, MACs, and seconds of torch and OpenVINO.

    python benchmarks/pruning.py s-x4 other.safetensors ... [--backends ...] [--rounds 3] [--json FILE]

Pictures of noise, 320 x 256 low pixels, in one piece, in turns; medians. Ratios are shares of
windows, and MACs those of such a picture.
"""

import argparse
import json
import statistics
from dataclasses import replace
from pathlib import Path

from camixersr.catalogue import find
from camixersr.inference.computer import Computer
from camixersr.speed.machine import describe
from camixersr.speed.race import noise

BACKENDS = ("torch fp32", "torch bf16", "openvino fp32", "openvino bf16")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="+")
    parser.add_argument("--ratios", type=float, nargs="+", default=[0.0, 0.5, 1.0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--backends", nargs="+", default=list(BACKENDS))
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    models = [replace(find(name), calibration=None) for name in given.models]
    low = noise(256, 320).permute(1, 2, 0).numpy()
    rows = []
    for backend in given.backends:
        name, precision = backend.split()
        upscalers = [Computer(each, backend=name, device="cpu", precision=precision) for each in models]
        for ratio in given.ratios:
            runs = [
                [each.run(low.numpy(), attention_ratio=ratio) for each in upscalers]
                for _ in range(given.rounds + 1)
            ]
            medians = [
                statistics.median(run.seconds for run in same[1:]) for same in zip(*runs, strict=True)
            ]
            for model, run, seconds in zip(models, runs[0], medians, strict=True):
                rows.append(
                    {
                        "model": model.name,
                        "parameters": model.parameters,
                        "backend": backend,
                        "attention_ratio": ratio,
                        "gmacs": run.macs / 1e9,
                        "macs_share": run.macs / runs[0][0].macs,
                        "seconds": seconds,
                        "seconds_share": seconds / medians[0],
                    }
                )
                print(
                    f"{model.name:20} {model.parameters:7} {backend:13} gamma {ratio:3g} "
                    f"{run.macs / 1e9:6.2f} GMACs ({run.macs / runs[0][0].macs:.3f}) {seconds:6.3f} s "
                    f"({seconds / medians[0]:.3f})",
                    flush=True,
                )
    if given.json:
        given.json.write_text(json.dumps(describe() | {"rows": rows}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
