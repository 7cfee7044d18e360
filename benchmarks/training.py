"""Training steps per second: the trainer's step against a plain loop of the same model, in one run.

    python benchmarks/training.py [--device cuda] [--batch 4] [--patch 48] [--before FOLDER] [--only KIND]

The plain loop is what one writes first, and what the paper's code does: fp32 eager, a Gumbel mask with
both branches computed for every window, low patches reduced one by one on the CPU, AdamW. The trainer's
steps attend a share drawn anew each step on gathered windows only, reduce whole batches on the device,
and step Muon and AdamW; on an accelerator they run in bfloat16. "gain" and "detail" are its two ways of
routing; "fused" is detail with the program of `kernels = "fused"`, "convolution" that with no window
attended, and "taught" that beside a teacher of the same shape, which attends everywhere (all three on the
CPU, in bfloat16 if the processor has it). All are timed in turns; the figures are ratios of the medians.
With `--before`, a checkout of another commit, its fused steps are timed in the same run ("fused before",
"taught before").
"""

import argparse
import importlib.util
import inspect
import json
import os
import platform
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from camixersr.image.resize import resize
from camixersr.models import PRESETS, CAMixerSR
from camixersr.models.detail import window_detail
from camixersr.nn.routing import TopShare
from camixersr.train.fused import FusedStep, Patch
from camixersr.train.objective import detail_loss, paper_loss, percentile
from camixersr.train.optimizer import MuonAdamW
from camixersr.train.photos import MARGIN, PatchStream, Photos, reduce
from camixersr.train.policies import Explore, RecentScores, Stochastic


def photographs() -> Photos:
    """Noise of the size of photographs: the arithmetic does not care."""
    rng = np.random.default_rng(0)
    sizes = tuple((700, 700) for _ in range(8))
    pixels = rng.integers(0, 256, 8 * 700 * 700 * 3, dtype=np.uint8)
    return Photos(pixels, tuple(700 * 700 * 3 * number for number in range(8)), sizes, ())


def plain_loop(network: CAMixerSR, stream: PatchStream, batch: int) -> Callable[[int], None]:
    """One step of the plain loop, as a function of its number."""
    device = next(network.parameters()).device
    scale = network.config.scale
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-9)
    generator = torch.Generator(device).manual_seed(0)
    edge = MARGIN * scale

    def step(number: int) -> None:
        pairs = []
        for patch in range(batch):
            high = stream.patch(number * batch + patch).permute(1, 2, 0).contiguous().numpy()
            side = high.shape[0] // scale
            low = resize(high, height=side, width=side)[MARGIN:-MARGIN, MARGIN:-MARGIN]
            pairs.append((low, high[edge:-edge, edge:-edge]))
        low, high = (
            torch.from_numpy(np.stack(each)).permute(0, 3, 1, 2).to(device).float() / 255.0
            for each in zip(*pairs, strict=True)
        )
        result, routing = network.route(low, Stochastic(generator, noise_on="probabilities"))
        (F.l1_loss(result, high) + paper_loss(routing, 0.5)).backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()

    return step


def step_of(folder: Path) -> Callable[..., FusedStep]:
    """The fused step of another checkout; before it knew bfloat16, it takes none."""
    path = folder / "src" / "camixersr" / "train" / "fused" / "__init__.py"
    spec = importlib.util.spec_from_file_location("fused_before", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    made = module.FusedStep
    knows = "half" in inspect.signature(made).parameters
    return made if knows else lambda *given, half=False: made(*given)


def trainer_step(
    network: CAMixerSR,
    stream: PatchStream,
    batch: int,
    *,
    routing: str,
    fused: FusedStep | None = None,
    teacher: FusedStep | None = None,
) -> Callable[[int], None]:
    """One step as the trainer does it, as a function of its number."""
    device = next(network.parameters()).device
    matrices = [
        layer.weight
        for layer in network.modules()
        if isinstance(layer, torch.nn.Linear) and min(layer.weight.shape) >= 8
    ]
    known = {id(parameter) for parameter in matrices}
    others = [parameter for parameter in network.parameters() if id(parameter) not in known]
    optimizer = MuonAdamW([{"params": others, "lr": 1e-9}, {"params": matrices, "lr": 1e-9, "muon": True}])
    quantiles = torch.linspace(-12.0, -3.0, 256, device=device)
    generator = torch.Generator(device).manual_seed(0)
    shares = np.random.default_rng(0)
    recent = RecentScores(network.block_count)

    def step(number: int) -> None:
        patches = torch.stack([stream.patch(number * batch + patch) for patch in range(batch)])
        low, high = reduce(patches.to(device, non_blocking=True), network.config.scale)
        # at first all windows: the memory that they take is asked for once
        share = 0.0 if routing == "convolution" else 1.0 if number < 2 else float(shares.random())
        target = percentile(window_detail(low, network.config.window), quantiles)
        if fused is not None:

            def loss(number: int, made: Patch, told: Patch | None) -> torch.Tensor:
                return (made.high - (high[number] if told is None else told.high)).abs().mean() / batch

            least = recent.least(share)
            losses = fused(low, loss, least=least, target=target, guide=0.02, gates=0.01, teacher=teacher)
            recent.add(losses.logits)
            losses.total.backward()
        else:
            policy = Explore(share, generator, weight=1e-3) if routing == "gain" else TopShare(share)
            with torch.autocast(device.type, torch.bfloat16, enabled=device.type != "cpu"):
                result, decided = network.route(low, policy)
            (F.l1_loss(result.float(), high) + 0.02 * detail_loss(decided, target)).backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()

    return step


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", default="s-x4", choices=sorted(PRESETS))
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--patch", type=int, default=48)
    parser.add_argument("--steps", type=int, default=12, help="of each kind, after two to warm up")
    parser.add_argument("--only", nargs="+", metavar="KIND", help="instead of all kinds")
    parser.add_argument("--before", type=Path, metavar="FOLDER", help="a checkout of another commit")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()

    torch.set_flush_denormal(True)
    photos = photographs()
    kinds: dict[str, Callable[[int], None]] = {}
    names = ["plain", "gain", "detail"] + ["fused", "convolution", "taught"] * (options.device == "cpu")
    steps: dict[str, Any] = {"": FusedStep}
    if options.before:
        steps[" before"] = step_of(options.before)
        names += ["fused before", "taught before"]
    names = [name for name in names if not options.only or name in options.only]
    known = Path("/proc/cpuinfo")
    half = options.device == "cpu" and known.exists() and "avx512_bf16" in known.read_text()
    for name in names:
        torch.manual_seed(0)
        network = CAMixerSR(PRESETS[options.model]).to(options.device).train()
        stream = PatchStream(photos, scale=network.config.scale, patch=options.patch, seed=0)
        if name == "plain":
            kinds[name] = plain_loop(network, stream, options.batch)
            continue
        kind, when = name.removesuffix(" before"), name[name.find(" ") :] if " " in name else ""
        fused = teacher = None
        if kind in ("fused", "convolution", "taught"):
            make, folder = steps[when], Path(tempfile.mkdtemp())
            fused = make(network, options.patch, folder, half=half)
            if kind == "taught":
                teacher = make(CAMixerSR(PRESETS[options.model]).eval(), options.patch, folder, half=half)
        kinds[name] = trainer_step(
            network, stream, options.batch, routing=kind, fused=fused, teacher=teacher
        )
    times: dict[str, list[float]] = {name: [] for name in kinds}
    for number in range(options.steps + 2):
        for name, step in kinds.items():
            began = time.perf_counter()
            step(number)
            if options.device == "cuda":
                torch.cuda.synchronize()
            times[name].append(time.perf_counter() - began)
    typical = {name: median(values[2:]) for name, values in times.items()}
    facts = {
        "model": options.model,
        "device": torch.cuda.get_device_name()
        if options.device == "cuda"
        else f"{platform.machine()}, {os.cpu_count()} CPU cores",
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "batch": options.batch,
        "patch": options.patch,
        "steps": options.steps,
        "fused_in": "bf16" if half else "fp32",
        "steps_per_second": {name: round(1.0 / value, 3) for name, value in typical.items()},
        f"times_{names[0]}": {name: round(typical[names[0]] / value, 3) for name, value in typical.items()},
    }
    print(json.dumps(facts, indent=1))
    if options.json:
        options.json.write_text(json.dumps(facts, indent=1) + "\n")


if __name__ == "__main__":
    main()
