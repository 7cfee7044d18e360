"""What a run would do, without doing it: photographs, sizes, and two steps measured."""

import math
import shutil
import tempfile
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from PIL import Image

from camixersr.backends.devices import peak_memory
from camixersr.data import open_set
from camixersr.models import Network
from camixersr.nn.routing import TopShare
from camixersr.train.fused import FusedStep, Patch
from camixersr.train.objective import pixel_loss
from camixersr.train.photos import list_photos
from camixersr.train.recipe import Recipe
from camixersr.train.start import find_photos, fused_step, start_network

__all__ = ["describe_run"]


def describe_run(recipe: Recipe) -> str:
    """Describe a run: what it reads, what it writes, how long it takes and how much memory.

    Time and memory are those of two real steps on random patches, with as much attended as the recipe has
    on average, on this machine and by the recipe's kernels; photographs are counted by their headers and
    nothing is written.

    Args:
        recipe: the run.

    Returns:
        Lines of text.

    Raises:
        UnknownModelError: the recipe's preset does not exist.
        InputError: there is no such folder of photographs, or no validation pairs.
        CheckpointError: the weights to start from do not load.
        UsageError: the recipe's kernels are not for this network.
        DeviceError: nor for this machine.
    """
    kept, aside, smallest = find_photos(recipe)
    pixels = sum(_pixels(file, smallest) for file in kept)
    validation = f"{len(aside)} photographs held out"
    if recipe.validation:
        benchmark = open_set(recipe.validation)
        validation = f"{benchmark.name}, {len(benchmark.pairs)} pictures"
    network, before = start_network(recipe)
    config = network.config
    fused = recipe.kernels == "fused"
    device = torch.device("cuda" if torch.cuda.is_available() and not fused else "cpu")
    network.to(device)
    seconds, memory = _measure(network, recipe, device)
    beside: list[str] = []
    more = 0
    if recipe.flat_photos:
        files, _ = list_photos(recipe.flat_photos, limit=recipe.limit, holdout=recipe.flat_holdout)
        more = sum(_pixels(file, smallest) for file in files)
        beside.append(
            f"beside them  {len(files)} flat photographs ({more / 1e6:.0f} Mpx), in "
            f"{recipe.flat_share:.0%} of the patches"
        )
    hours = recipe.steps * seconds / 3600
    output = Path(recipe.output)
    there = next(parent for parent in (output, *output.resolve().parents) if parent.exists())
    free = shutil.disk_usage(there).free
    own = recipe.batch // recipe.devices
    decoded = pixels + more
    lines = [
        f"model        {recipe.model}: {sum(p.numel() for p in network.parameters()):,} weights, "
        f"{config.channels} channels, {network.block_count} blocks, x{config.scale}",
        *([f"undoes       {recipe.degradation.about}"] if recipe.degradation else []),
        f"starts from  {before.name if before else 'the best linear upsampler'}",
        f"photographs  {len(kept)} to train on ({pixels / 1e6:.0f} Mpx), {len(aside)} held out; "
        f"sides of {smallest} pixels or more",
        *beside,
        f"validation   {validation}, every {recipe.validate_every} steps",
        f"steps        {recipe.steps} of {recipe.batch} patches, {recipe.patch} x {recipe.patch} low "
        f"pixels, {recipe.patch * config.scale} x {recipe.patch * config.scale} high",
        f"optimizer    {recipe.optimizer}, routing by {recipe.routing}, {recipe.precision}"
        + (", compiled" if recipe.compile else ""),
        f"time         {hours:.2f} h without validation: {seconds:.2f} s a step of {own} patches on "
        f"{device}, {'fused' if fused else 'uncompiled'}"
        + (f", {recipe.devices} processes" if recipe.devices > 1 else ""),
        f"memory       {memory / 1e6:.0f} MB a process",
        f"writes       {output}: {decoded * 3 / 1e9:.2f} GB of decoded photographs, checkpoints of about "
        f"{recipe.keep + 1} x {_checkpoint(network) / 1e6:.0f} MB; {free / 1e9:.0f} GB "
        "are free",
    ]
    return "\n".join(lines)


def _pixels(file: Path, smallest: int) -> int:
    """Pixels of a photograph by its header; 0 if it cannot be used."""
    try:
        with Image.open(file) as picture:
            return picture.width * picture.height if min(picture.size) >= smallest else 0
    except OSError:
        return 0


def _checkpoint(network: torch.nn.Module) -> int:
    """Bytes of a checkpoint: weights, their average, and two moments of each (Muon: one)."""
    return 4 * sum(parameter.numel() * parameter.element_size() for parameter in network.parameters())


def _fused_step(
    fused: FusedStep, recipe: Recipe, low: torch.Tensor, high: torch.Tensor, share: float
) -> None:
    """A step of random patches; a share of the blocks attends everything, the others nothing."""

    def loss(number: int, made: Patch, told: Patch | None) -> torch.Tensor:
        return pixel_loss(recipe.loss, made.high[None], high[number : number + 1]) / len(high)

    order = torch.linspace(0.0, 1.0, fused.blocks + 2)[1:-1]
    fused(
        low,
        loss,
        least=torch.where(order < share, -math.inf, math.inf),
        target=low.new_zeros(len(low), fused.windows),
        guide=recipe.routing_weight,
        gates=recipe.gate_weight,
        teacher=fused if recipe.hint_weight else None,
    ).total.backward()


def _measure(network: Network, recipe: Recipe, device: torch.device) -> tuple[float, int]:
    """Seconds of a step, and the process's (or accelerator's) peak memory in bytes."""
    scale, patch, latitude = network.config.scale, recipe.patch, network.config.latitude
    generator = torch.Generator().manual_seed(0)
    shape = (recipe.batch // recipe.devices, 3 + latitude, scale * patch, scale * patch)
    high = torch.rand(shape, generator=generator).to(device)
    low, high = high[..., :patch, :patch].contiguous(), high[:, :3].contiguous()
    share = recipe.full + (1 - recipe.plain - recipe.full) * sum(recipe.shares) / 2
    with tempfile.TemporaryDirectory(prefix="camixersr-") as folder:
        fused = fused_step(network, recipe, Path(folder))
        took = 0.0
        for _ in range(2):  # the first one warms up
            began = time.perf_counter()
            if fused is not None:
                _fused_step(fused, recipe, low, high, share)
            else:
                with torch.autocast(device.type, torch.bfloat16, enabled=recipe.precision == "bf16"):
                    result, _ = network.route(low, TopShare(share))
                F.l1_loss(result.float(), high).backward()
            if device.type == "cuda":
                torch.cuda.synchronize()
            took = time.perf_counter() - began
            network.zero_grad()
        if fused is not None:
            fused.close()
    return took, peak_memory(str(device)) or 0
