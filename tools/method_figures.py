"""Draw the figures of docs/method.md from a real run of the embedded model on the sample photo.

    python tools/method_figures.py            # needs the extra `report`

Writes docs/images/method-routing.jpg (scores of single blocks, and who is attended), method-predictor.jpg
(offsets, spatial and channel attention of one block) and method-dial.png (what the dial costs and buys,
from docs/results).
"""

import json
from pathlib import Path

import numpy as np
import torch
from matplotlib import use
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from camixersr.catalogue import embedded
from camixersr.nn.predictor import Guidance, Predictor
from camixersr.nn.routing import Routing
from camixersr.weights import load_file

use("Agg")
ROOT = Path(__file__).resolve().parent.parent
IMAGES, RESULTS = ROOT / "docs" / "images", ROOT / "docs" / "results"
PHOTO = ROOT / "samples" / "summer-palace.jpg"
RATIO = 0.5
BLOCKS = (0, 9, 19)  # first, middle, last
CLOSE = (224, 224, 304, 304)  # left, top, right, bottom of the close view, low pixels
SHOWN = 14  # block of the close view: one with long offsets and an open gate


def watch(low: np.ndarray) -> tuple[list[Guidance], Routing]:
    """What every block's predictor said of a photo, H x W x 3 uint8, and who was attended."""
    model = load_file(embedded()["s-x4"])
    said: list[Guidance] = []
    for module in model.network.modules():
        if isinstance(module, Predictor):
            module.register_forward_hook(lambda _, given, guidance: said.append(guidance))
    planes = torch.from_numpy(low).permute(2, 0, 1)[None].float() / 255.0
    assert model.calibration is not None
    with torch.inference_mode():
        _, routing = model.network.route(planes, model.calibration.at(RATIO))
    return said, routing


def plain(axes: Axes, title: str) -> None:
    """A picture without a frame."""
    axes.set_title(title, fontsize=9, loc="left")
    axes.set_axis_off()


def routes(low: np.ndarray, routing: Routing) -> None:
    """Scores of three blocks, and the share of blocks that attend each window."""
    H, W = low.shape[:2]
    M = -(-W // routing.columns)
    grid = (routing.rows, routing.columns)
    scores = [block.scores[0].numpy() for block in routing.blocks]
    attended = routing.attended[:, 0].float().mean(dim=0).reshape(grid).numpy()
    figure = Figure(figsize=(11, 5.2), layout="constrained")
    top = figure.subplots(2, 3)
    plain(top[0, 0], f"{W} x {H}, windows of {M} x {M}")
    top[0, 0].imshow(low)
    for x in range(0, W, M):
        top[0, 0].axvline(x - 0.5, color="w", lw=0.3, alpha=0.6)
    for y in range(0, H, M):
        top[0, 0].axhline(y - 0.5, color="w", lw=0.3, alpha=0.6)
    share = top[0, 1].imshow(attended, cmap="inferno", vmin=0, vmax=1)
    plain(top[0, 1], f"share of blocks that attend, ratio {RATIO}")
    figure.colorbar(share, ax=top[0, 1], shrink=0.8)
    ordered = np.sort(np.concatenate(scores))
    top[0, 2].plot(ordered, np.linspace(0, 1, len(ordered)), color="k")
    top[0, 2].set_box_aspect(H / W)
    top[0, 2].set_xlabel("score of a window")
    top[0, 2].set_ylabel("share of windows below")
    top[0, 2].set_title("scores spread over their range", fontsize=9, loc="left")
    for axes, number in zip(top[1], BLOCKS, strict=True):
        picture = axes.imshow(scores[number].reshape(grid), cmap="viridis", vmin=0, vmax=1)
        plain(axes, f"scores of block {number}")
        figure.colorbar(picture, ax=axes, shrink=0.8)
    figure.savefig(IMAGES / "method-routing.jpg", dpi=110, pil_kwargs={"quality": 85})


def predictor(low: np.ndarray, said: list[Guidance]) -> None:
    """One block's offsets as arrows on a part of the photo, and its two attentions."""
    left, top, right, bottom = CLOSE
    guidance = said[SHOWN]
    figure = Figure(figsize=(11, 3.9), layout="constrained")
    axes = figure.subplots(1, 3)
    axes[0].imshow(low[top:bottom, left:right])
    step = 4
    y, x = np.mgrid[top + 2 : bottom : step, left + 2 : right : step]
    moves = guidance.offsets[0, y, x].numpy()
    axes[0].quiver(
        x - left, y - top, moves[..., 0], moves[..., 1], angles="xy", scale_units="xy", scale=1,
        color="yellow", width=0.006,
    )  # fmt: skip
    plain(axes[0], f"offsets of block {SHOWN}: where a token's key looks")
    gate = axes[1].imshow(
        guidance.spatial[0, top:bottom, left:right, 0].numpy(), cmap="magma", vmin=0, vmax=1
    )
    plain(axes[1], "spatial attention: factor of a convolved pixel")
    figure.colorbar(gate, ax=axes[1], shrink=0.8)
    channel = guidance.channel[0].reshape(-1, guidance.channel.shape[-1])
    axes[2].bar(range(channel.shape[-1]), channel.mean(dim=0).numpy(), color="0.4")
    axes[2].set_ylim(0, 1)
    axes[2].set_xlabel("channel")
    axes[2].set_title("channel attention: factor of a channel", fontsize=9, loc="left")
    figure.savefig(IMAGES / "method-predictor.jpg", dpi=110, pil_kwargs={"quality": 88})


def dial() -> None:
    """PSNR above ratio 0 against multiplications, for the authors' S and the embedded S."""
    figure = Figure(figsize=(8, 3.6), layout="constrained")
    axes = figure.subplots(1, 2, sharey=True)
    stored = (("authors' S", "classic-official-s-x4"), ("embedded s-x4", "classic-s-x4"))
    for plot, (name, file) in zip(axes, stored, strict=True):
        rows = json.loads((RESULTS / f"{file}.json").read_text())["rows"]
        sets = ("Set5", "Set14", "BSD100", "photo")
        for number, each in enumerate(sets):
            curve = [row for row in rows if row["set"] == each and row["attention_ratio"] is not None]
            curve.sort(key=lambda row: row["attention_ratio"])
            cost = [sum(image["macs"] for image in row["images"]) for row in curve]
            gain = [row["psnr"] - curve[0]["psnr"] for row in curve]
            label = "Kodak" if each == "photo" else each
            plot.plot([one / cost[-1] for one in cost], gain, marker="os^d"[number], ms=4, label=label)
        plot.set_title(name, fontsize=10)
        plot.set_xlabel("multiplications, share of those at ratio 1")
        plot.grid(alpha=0.3)
    axes[0].set_ylabel("PSNR above ratio 0, dB")
    axes[0].legend(fontsize=8)
    figure.savefig(IMAGES / "method-dial.png", dpi=110)


def main() -> None:
    """All three."""
    low = np.array(Image.open(PHOTO).convert("RGB"))
    said, routing = watch(low)
    routes(low, routing)
    predictor(low, said)
    dial()


if __name__ == "__main__":
    main()
