"""Training steps on the CPU, fused: loss and gradients of a batch by a program made for one network.

The network's layers are narrow (36 channels in S): on a CPU torch spends most of a training step
moving maps between memory and layers. `step.cpp` computes one patch from pixels to gradients inside
the cache instead. It is compiled for the network's shape, when a run starts, by the machine's C++
compiler; `FusedStep` looks to autograd like any function of the weights, so that the optimizer,
several processes and checkpoints know nothing of it.

A step has two halves. The first gives a patch's picture (and what each group of blocks made of it);
the second takes the gradient of these. Between them stands a loss in torch, any that tells of one
patch at a time.

It is the same mathematics in another order of sums: gradients agree with torch's to about 1e-5 of
their size (tested).
"""

import ctypes
import hashlib
import itertools
import math
import os
import platform
import shutil
import subprocess
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from camixersr.errors import DeviceError, MemoryLimitError, OutputError, UsageError
from camixersr.image.files import replacing
from camixersr.models import CAMixerSR
from camixersr.nn.windows import window_position
from camixersr.train.objective import GATE, gate_loss

__all__ = ["FusedStep", "Losses", "Patch", "PatchLoss", "names"]

SOURCES = (
    *("step.cpp", "attention.h", "half.h", "layers.h", "planes.h", "tiles.h", "vector.h"),
    *("../../native/kernels.h", "../../native/vector.h"),
)
FLAGS = ("-std=c++17", "-O3", "-march=native", "-fno-math-errno", "-fno-trapping-math", "-shared", "-fPIC")
WINDOW = 16
WIDEST = 64
"""Most channels that the program's buffers hold."""


class Patch(NamedTuple):
    """What the first half gives of one patch.

    Attributes:
        high: 3 x sP x sP, its picture.
        features: G x C x P x P, what each of G groups made of it.
        logits: K x N, log-odds of attention of K blocks.
        gates: K, mean log-odds of spatial attention.
    """

    high: Tensor
    features: Tensor
    logits: Tensor
    gates: Tensor


PatchLoss = Callable[[int, Patch, Patch | None], Tensor]
"""The loss of one patch, a scalar: from its number in the batch, what the network made of it (with
gradients through `high` and `features`), and what its teacher did. The batch's loss is the sum."""


class Losses(NamedTuple):
    """What a step gives; gradients flow from `total` alone.

    Attributes:
        total: `pixels + guide + gates`, a scalar.
        pixels: the patches' losses together, a scalar.
        guide: the weighted routing loss, a scalar.
        gates: the weighted loss of spatial attention that closes, a scalar.
        logits: K x B x N, log-odds of attention of K blocks.
    """

    total: Tensor
    pixels: Tensor
    guide: Tensor
    gates: Tensor
    logits: Tensor


def names(network: CAMixerSR) -> list[str]:
    """The weights in the program's order, by name; "" where the network has none of a kind."""
    first = ["head", "latitude", "global_in", "global_out"]
    predictor = ["project_in", "norm", "channel", "spatial"]
    mixer = ["project_v", *(f"predictor.{part}" for part in predictor), "local.0", "local.1", "project_out"]
    mixer += [f"predictor.{part}" for part in ("mask.0", "mask.2", "offsets.0", "offsets.2")]
    mixer += ["attention.project_q", "attention.project_k"]
    feed = [f"feed_forward.{part}" for part in ("project_in", "depthwise", "project_out")]
    block = [*(f"mixer.{part}" for part in mixer), "norm1", *feed, "norm2"]
    layers = list(first)
    for group, count in enumerate(network.config.blocks):
        layers += [f"body.{group}.blocks.{number}.{layer}" for number in range(count) for layer in block]
    layers += [f"body.{group}.tail" for group in range(len(network.config.blocks))]
    layers += ["body_tail", "tail"]
    found = dict(network.named_parameters())
    result: list[str] = []
    for layer in layers:
        if layer == "latitude":
            result.append("latitude.weight" if "latitude.weight" in found else "")
            continue
        result += [f"{layer}.{kind}" for kind in ("weight", "bias") if f"{layer}.{kind}" in found]
    return result


class FusedStep:
    """Loss and gradients of batches of patches, for one network.

    Patches are shared out over `torch.get_num_threads()` threads; the gradients of each are added in the
    batch's order, so that the number of threads changes nothing.

    Args:
        network: the classic one, not pruned, with windows of 16 and at most 64 channels, on the CPU.
        patch: side of the low patches, in pixels, a multiple of 16.
        folder: for the compiled program, which later runs find there again.
        half: the products of attention take bfloat16 numbers (their sums stay in single precision).

    Raises:
        UsageError: the network or the patch is none that the program can be made for.
        DeviceError: neither AVX2 nor AVX-512 (for `half`, no AVX512-BF16), or no C++ compiler, or it fails.
        OutputError: the folder cannot be written.
    """

    def __init__(self, network: CAMixerSR, patch: int, folder: Path, *, half: bool = False) -> None:
        config = network.config
        if (
            (config.keys or config.values or config.hidden)
            or config.window != WINDOW
            or config.channels > WIDEST
            or patch % WINDOW
            or (config.pool and config.pool < patch)
        ):
            raise UsageError(
                f'kernels = "fused" expects an unpruned network, windows of {WINDOW}, at most {WIDEST} '
                f"channels, and pooling over patches of a multiple of {WINDOW} pixels; got {config} and "
                f'patches of {patch}; use kernels = "torch"'
            )
        self.patch = patch
        self.scale = config.scale
        self.channels = config.channels
        self.groups = len(config.blocks)
        self.windows = (patch // WINDOW) ** 2
        self.blocks = network.block_count
        found: dict[str, nn.Parameter] = dict(network.named_parameters())
        self.order = [found.get(name) for name in names(network)]
        self.weights = [weight for weight in self.order if weight is not None]
        self.sizes = [weight.numel() for weight in self.weights]
        defined: dict[str, Any] = {
            "CHANNELS": config.channels,
            "SCALE": config.scale,
            "PATCH": patch,
            "BF16": int(half),
            "TILES": int(half and _has_tiles()),
        }
        defined["GROUPS"] = f"{{{','.join(map(str, config.blocks))}}}"
        library = ctypes.CDLL(str(_build(defined, folder)))
        assert library.count_weights() == len(self.order)
        library.begin.restype = ctypes.c_void_p
        library.end.argtypes = [ctypes.c_void_p]
        library.patch_forward.argtypes = [*[ctypes.c_void_p] * 10, ctypes.c_int]
        library.patch_backward.argtypes = [ctypes.c_void_p] * 8
        library.patch_backward.restype = None
        self.library = library
        place = window_position(patch, patch, WINDOW, like=torch.zeros(()))
        self.place = place[0].permute(2, 0, 1).contiguous()
        self._workspaces: list[int] = []
        self._threads: ThreadPoolExecutor | None = None

    def __call__(
        self,
        low: Tensor,
        loss: PatchLoss,
        *,
        least: Tensor,
        target: Tensor,
        guide: float,
        gates: float,
        beside: Sequence[nn.Parameter] = (),
        teacher: "FusedStep | None" = None,
    ) -> Losses:
        """Compute a step.

        Args:
            low: B x 3 x P x P in [0, 1], float32; with a fourth channel, the cosine of each row's latitude.
            loss: of each patch.
            least: K, the log-odds from which each of K blocks attends a window; -inf attends all.
            target: B x N in [0, 1], what the scores should be. Their loss trains the layers that score,
                and nothing before them.
            guide: weight of the routing loss, a mean over blocks and windows.
            gates: weight of `gate_loss`.
            beside: more weights that `loss` depends on.
            teacher: another network of this shape, asked of every patch with all windows attended.

        Returns:
            The losses of the batch.

        Raises:
            MemoryLimitError: the memory does not suffice.
        """
        batch = len(low)
        away = 1.0 - low[:, 3, :, 0] if low.shape[1] > 3 else low.new_zeros(batch, self.patch)
        colours, away = low[:, :3].contiguous(), away.contiguous()
        logits = torch.empty(batch, self.blocks, self.windows)
        closed = torch.empty(batch, self.blocks)
        values = torch.empty(batch)
        sizes = [*self.sizes, *(weight.numel() for weight in beside)]
        gradients = torch.zeros(batch, sum(sizes))
        least = least.float().contiguous()
        all_of_it = torch.full_like(least, -math.inf)
        workers = min(batch, torch.get_num_threads())
        self._prepare(workers)
        own = self._pointers(weight.data_ptr() for weight in self.weights)
        theirs = teacher and teacher._pointers(weight.data_ptr() for weight in teacher.weights)
        starts = [4 * start for start in itertools.accumulate(self.sizes[:-1], initial=0)]

        waiting = iter(range(batch))  # the next one to whoever is free: a busy patch takes longer

        def work(worker: int) -> None:
            for number in waiting:
                mine = gradients[number].split(sizes)
                seen = (colours[number], away[number])
                told = theirs and self._first_half(worker, *seen, all_of_it, theirs, keeps=False)
                patch = self._first_half(worker, *seen, least, own)
                logits[number], closed[number] = patch.logits, patch.gates
                given = (patch.high.requires_grad_(), patch.features.requires_grad_())
                with torch.enable_grad():
                    value = loss(number, patch, told)
                values[number] = value.detach()
                found: list[Tensor | None] = list(
                    torch.autograd.grad(value, (*given, *beside), allow_unused=True)
                )
                for into, gradient in zip(mine[len(self.sizes) :], found[2:], strict=True):
                    if gradient is not None:
                        into.copy_(gradient.flatten())
                odds = logits[number]
                toward = guide / (batch * odds.numel()) * (odds.sigmoid() - target[number])
                open_up = -2.0 * gates / batch * (GATE - closed[number]).clamp(min=0.0)
                parts = [
                    None if part is None else part.contiguous() for part in (*found[:2], toward, open_up)
                ]
                self.library.patch_backward(
                    self._workspaces[worker],
                    own,
                    self._pointers(gradients[number].data_ptr() + start for start in starts),
                    away[number].data_ptr(),
                    *(0 if part is None else part.data_ptr() for part in parts),
                )

        assert self._threads is not None
        list(self._threads.map(work, range(workers)))
        total = gradients[0]
        for more in gradients[1:]:
            total += more
        pixels = values.sum()
        routing = guide * F.binary_cross_entropy_with_logits(logits, target[:, None].expand_as(logits))
        shut = gates * gate_loss(closed)
        weights = (*self.weights, *beside)
        known = [part.view_as(weight) for part, weight in zip(total.split(sizes), weights, strict=True)]
        whole = _Known.apply(pixels + routing + shut, known, *weights)
        return Losses(whole, pixels, routing, shut, logits.transpose(0, 1))

    def _first_half(
        self, worker: int, low: Tensor, away: Tensor, least: Tensor, weights: Any, *, keeps: bool = True
    ) -> Patch:
        """From a patch, 3 x P x P and P, to what the network of these weights makes of it.

        keeps: the second half may follow.
        """
        s, P = self.scale, self.patch
        patch = Patch(
            torch.empty(3, s * P, s * P),
            torch.empty(self.groups, self.channels, P, P),
            torch.empty(self.blocks, self.windows),
            torch.empty(self.blocks),
        )
        short = self.library.patch_forward(
            self._workspaces[worker],
            weights,
            *(part.data_ptr() for part in (low, away, self.place, least, *patch)),
            keeps,
        )
        if short:
            raise MemoryLimitError("the memory does not suffice for a step; use fewer threads")
        return patch

    def _pointers(self, addresses: Iterable[int]) -> Any:
        """The weights' addresses in the program's order; 0 where the network has no such weight."""
        given = iter(addresses)
        return (ctypes.c_void_p * len(self.order))(
            *(0 if weight is None else next(given) for weight in self.order)
        )

    def _prepare(self, workers: int) -> None:
        """Memory and threads."""
        while len(self._workspaces) < workers:
            workspace = self.library.begin()
            if not workspace:
                raise MemoryLimitError("the memory does not suffice for a step; use fewer threads")
            self._workspaces.append(workspace)
        if self._threads is None:
            # each computes its patch alone; a team of torch's in each would only get in the way
            self._threads = ThreadPoolExecutor(os.cpu_count(), initializer=lambda: torch.set_num_threads(1))

    def __deepcopy__(self, memo: dict[int, Any]) -> "FusedStep":
        """Itself: a moving average copies all that trains, and computes no steps."""
        return self

    def close(self) -> None:
        """Give memory and threads back."""
        if self._threads is not None:
            self._threads.shutdown()
            self._threads = None
        while self._workspaces:
            self.library.end(self._workspaces.pop())


class _Known(torch.autograd.Function):
    """A value whose gradients are known already."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, gradients: list[Tensor], *weights: Tensor) -> Tensor:
        ctx.gradients = gradients
        return value.clone()

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> Any:
        return (None, None, *(gradient * grad_outputs[0] for gradient in ctx.gradients))


def _build(defined: Mapping[str, Any], folder: Path) -> Path:
    """Compile the program for a shape, or find what an earlier run compiled."""
    processor = _processor()
    if "avx512f" not in processor and not ("avx2" in processor and "fma" in processor):
        raise DeviceError(
            'kernels = "fused" expects Linux on a processor with AVX2 and FMA or AVX-512, and found none; '
            'use kernels = "torch"'
        )
    if defined["BF16"] and "avx512_bf16" not in processor:
        raise DeviceError(
            'kernels = "fused" in precision = "bf16" expects a processor with AVX512-BF16; use "fp32"'
        )
    shape = [f"-D{name}={value}" for name, value in defined.items()]
    here = Path(__file__).parent
    sources = [(here / name).read_bytes() for name in SOURCES]
    key = hashlib.sha256(b"\0".join([*sources, processor.encode(), *map(str.encode, (*FLAGS, *shape))]))
    library = folder / f"fused-{key.hexdigest()[:16]}.so"
    if library.exists():
        return library
    compiler = os.environ.get("CXX") or shutil.which("g++") or shutil.which("clang++")
    if not compiler:
        raise DeviceError(
            'kernels = "fused" expects a C++ compiler (g++ or clang++, or one named by CXX), and there is '
            'none; install one, or use kernels = "torch"'
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with replacing(library) as partial:
            command = [compiler, *FLAGS, *shape, str(here / SOURCES[0]), "-o", str(partial)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                reason = next((line for line in done.stderr.splitlines() if "error" in line), done.stderr)
                raise DeviceError(
                    f'{compiler}: cannot compile the fused step; use kernels = "torch": {reason}'
                )
    except OSError as error:
        raise OutputError(f"{folder}: cannot write the compiled step: {error}") from error
    return library


def _processor() -> str:
    """What the processor can do, as Linux says it; "" elsewhere."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    return platform.machine() + next((line for line in lines if line.startswith("flags")), "")


def _has_tiles() -> bool:
    """Whether there is a tile unit for bfloat16 (AMX), and Linux grants its use to this process."""
    arch_prctl, ask, tile_data = 158, 0x1023, 18  # asm/prctl.h: ARCH_REQ_XCOMP_PERM, XFEATURE_XTILE_DATA
    return "amx_bf16" in _processor() and ctypes.CDLL(None).syscall(arch_prctl, ask, tile_data) == 0
