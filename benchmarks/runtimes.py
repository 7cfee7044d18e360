"""Every backend beside the plain reference, on a photograph of 960 x 540 low pixels, with parity.

    python benchmarks/runtimes.py PHOTO [--model m-x4] [--ratios 0.5 ...] [--rounds 2] [--only openvino ...]

Pictures are computed in turns, each backend in a process of its own; medians. `parity_db` is that of the
package's photograph (`camixersr.backends.parity`). Ratios are shares of windows. "Of peak" is the speed of
what ran beside that of a large matrix product in the same precision. A preset without
embedded weights is timed with random ones, in fp32: they overflow in less.
"""

import argparse
import json
from dataclasses import asdict, replace
from pathlib import Path

import torch

from camixersr.backends.choose import BACKENDS, available, make
from camixersr.backends.parity import compare, sample_photo
from camixersr.catalogue import embedded, find
from camixersr.image.decode import read
from camixersr.image.resize import resize
from camixersr.models import PRESETS, CAMixerSR
from camixersr.speed.contenders import PIECE, REFERENCE, Entrant, apart
from camixersr.speed.machine import describe
from camixersr.speed.race import Timing, race
from camixersr.tensors import from_array
from camixersr.weights import Model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photo", type=Path)
    presets = [name for name in PRESETS if name.endswith("-x4")]
    parser.add_argument("--model", default="s-x4", choices=presets)
    parser.add_argument("--ratios", type=float, nargs="+", default=[0.5])
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--height", type=int, default=540, help="low rows of the photograph that are used")
    parser.add_argument("--no-parity", action="store_true")
    parser.add_argument("--only", nargs="+", default=["reference", *BACKENDS])
    parser.add_argument("--whole", action="store_true", help="in one piece, whatever the backend would do")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    torch.manual_seed(0)
    random = Model(given.model, CAMixerSR(PRESETS[given.model]).eval().requires_grad_(False))
    model = find(given.model) if given.model in embedded() else random
    shares = replace(model, calibration=None)
    photo = read(given.photo).pixels
    width = max(960, -(-540 * photo.shape[1] // photo.shape[0]))
    low = from_array(
        resize(photo, height=width * photo.shape[0] // photo.shape[1], width=width)[: given.height, :960]
    )
    device = torch.device("cpu")
    entered = []
    parity: dict[str, float] = {}
    for each in available("cpu"):
        for precision in each.precisions:
            if each.name not in given.only or each.missing or (model is random and precision != "fp32"):
                continue
            entered.append(Entrant(each.name, precision, "cpu", 0 if given.whole else "auto"))
            if each.name != "torch" and not given.no_parity:
                backend = make(shares, each.name, device="cpu", precision=precision)
                seen = compare(backend, model, [sample_photo()])
                parity[f"{each.name} {precision}"] = round(seen.psnr_db, 1)
    if "reference" in given.only:
        entered.append(Entrant(REFERENCE, "fp32", "cpu", PIECE))
    rows = []

    def found(of_ratio: list[Timing]) -> None:
        rows.extend(of_ratio)
        for row in of_ratio:
            print(
                f"{row.backend:12} {row.precision} gamma {row.attention_ratio:4} {row.seconds:6.2f} s "
                f"({row.fastest:.2f} to {row.slowest:.2f}) {row.microseconds_per_low_pixel:6.2f} us/px, "
                f"{row.tiles} tiles, x{row.times_reference or 0:.2f}, "
                f"{100 * (row.share_of_peak or 0):.0f} % of peak, "
                f"{parity.get(f'{row.backend} {row.precision}', '')} dB, first {row.first:.1f} s, "
                f"{(row.peak_memory_bytes or 0) / 1e6:.0f} MB",
                flush=True,
            )

    with apart(shares, entered) as contenders:
        _, peaks, dropped = race(
            contenders,
            low.contiguous(),
            scale=4,
            attention_ratios=given.ratios,
            rounds=given.rounds,
            device=device,
            found=found,
        )
    print("matrix product:", ", ".join(f"{best:.0f} GFLOP/s in {name}" for name, best in peaks.items()))
    print(*dropped, sep="\n", flush=True)
    if given.json:
        facts = describe() | {
            "model": given.model,
            "parity_db": parity,
            "rows": [asdict(row) for row in rows],
        }
        given.json.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
