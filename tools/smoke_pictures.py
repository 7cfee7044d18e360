"""Make the pictures of `recipes/smoke.toml`: edges, textures and letter-like strokes, drawn from numbers.

Writes `recipes/smoke/*.png`, 24 pictures of 160 x 160 pixels, the same each time. They are ours, so that
training can be tried in a clone without any data. They are no photographs: a model for use needs those.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

FOLDER = Path(__file__).resolve().parent.parent / "recipes" / "smoke"
SIDE = 160  # pixels
FINE = 3  # times as many are drawn, and averaged: soft edges
OF_EACH = 4

Plane = NDArray[np.float64]
Draw = Callable[[np.random.Generator, Plane, Plane], Plane]


def colour(rng: np.random.Generator) -> Plane:
    """A colour, 3 values in [0, 1]."""
    return rng.uniform(0.05, 0.95) + rng.uniform(-0.2, 0.2, 3)


def waves(rng: np.random.Generator, x: Plane, y: Plane, *, octaves: int, first: float) -> Plane:
    """A smooth random field of a deviation of about 1: a sum of waves, each octave half as strong."""
    field = np.zeros_like(x)
    for octave in range(octaves):
        for _ in range(6):
            angle, phase = rng.uniform(0.0, 2.0 * np.pi, 2)
            rate = first * 2.0**octave * rng.uniform(0.7, 1.4)
            along = np.cos(angle) * x + np.sin(angle) * y
            field += 0.5**octave * np.sin(2.0 * np.pi * rate * along + phase) / np.sqrt(3.0)
    return field


def shaded(rng: np.random.Generator, x: Plane, y: Plane) -> Plane:
    """A background: from one colour to another, H x W x 3."""
    share = np.clip(0.5 + 0.3 * waves(rng, x, y, octaves=1, first=0.6), 0.0, 1.0)[..., None]
    return share * colour(rng) + (1.0 - share) * colour(rng)


def over(picture: Plane, mask: NDArray[np.bool_], paint: Plane) -> None:
    """Lay paint (a colour, or a picture) where the mask is."""
    picture[mask] = np.broadcast_to(paint, picture.shape)[mask]


def things(rng: np.random.Generator, x: Plane, y: Plane) -> Plane:
    """Ellipses and polygons, one before another."""
    picture = shaded(rng, x, y)
    for _ in range(14):
        left, top, turn = rng.uniform(0.0, 1.0), rng.uniform(0.0, 1.0), rng.uniform(0.0, np.pi)
        u = np.cos(turn) * (x - left) + np.sin(turn) * (y - top)
        v = np.cos(turn) * (y - top) - np.sin(turn) * (x - left)
        width, height = rng.uniform(0.04, 0.25, 2)
        corners = rng.integers(0, 3)
        if corners == 0:
            mask = (u / width) ** 2 + (v / height) ** 2 < 1.0
        elif corners == 1:
            mask = (np.abs(u) < width) & (np.abs(v) < height)
        else:
            mask = (v < height) & (np.abs(u) * 1.5 < width + v)
        over(picture, mask, shaded(rng, x, y))
    return picture


def stripes(rng: np.random.Generator, x: Plane, y: Plane) -> Plane:
    """Bent stripes of a changing width, as of cloth or of water."""
    bend = 0.08 * waves(rng, x, y, octaves=2, first=0.8)
    turn = rng.uniform(0.0, np.pi)
    along = np.cos(turn) * x + np.sin(turn) * y + bend
    rate = rng.uniform(9.0, 20.0)
    wave = np.sin(2.0 * np.pi * rate * along * (1.0 + 0.5 * x))
    share = 0.5 + 0.5 * np.tanh(rng.uniform(1.0, 4.0) * wave)
    return share[..., None] * shaded(rng, x, y) + (1.0 - share[..., None]) * shaded(rng, x, y)


def stones(rng: np.random.Generator, x: Plane, y: Plane) -> Plane:
    """Stones with dark joints: the cells nearest to random points."""
    points = rng.uniform(-0.05, 1.05, (70, 2))
    distance = np.hypot(x[..., None] - points[:, 0], y[..., None] - points[:, 1])
    nearest = np.argsort(distance, axis=-1)[..., :2]
    first, second = np.moveaxis(np.take_along_axis(distance, nearest, -1), -1, 0)
    base = colour(rng)
    tints = np.stack([base + rng.uniform(-0.18, 0.18) + rng.uniform(-0.04, 0.04, 3) for _ in points])
    picture = tints[nearest[..., 0]] * (1.05 - 1.5 * first[..., None])
    over(picture, second - first < 0.012, 0.35 * base)
    return picture + 0.02 * waves(rng, x, y, octaves=4, first=6.0)[..., None]


def letters(rng: np.random.Generator, x: Plane, y: Plane) -> Plane:
    """Lines of strokes that look like writing, in several sizes."""
    ground = colour(rng)
    picture = np.broadcast_to(ground, (*x.shape, 3)).copy()
    ink = ground - 0.55 if ground.mean() > 0.5 else ground + 0.55
    slant, top = rng.uniform(-0.06, 0.06), 0.03
    while top < 1.0:
        size = rng.uniform(0.05, 0.15)
        left = 0.03
        while left < 0.97:
            if rng.uniform() < 0.85:
                glyph(rng, picture, (x - left) / size, (y - top - slant * x) / size, ink)
            left += 0.68 * size
        top += 1.45 * size
    return picture


def glyph(rng: np.random.Generator, picture: Plane, x: Plane, y: Plane, ink: Plane) -> None:
    """Some strokes and arcs in a box from 0 to 0.5 across and 0 to 1 down."""
    width = 0.055
    for _ in range(rng.integers(2, 4)):
        kind, at = rng.integers(0, 4), rng.choice([0.05, 0.25, 0.45])
        down = rng.choice([0.1, 0.5, 0.9])
        if kind == 0:
            mask = (np.abs(x - at) < width) & (y > 0.05) & (y < 0.95)
        elif kind == 1:
            mask = (np.abs(y - down) < width) & (x > 0.02) & (x < 0.48)
        elif kind == 2:
            mask = (np.abs(np.hypot(x - 0.25, y - min(down, 0.7)) - 0.2) < width) & (y < 0.95)
        else:
            mask = (np.abs(x - 0.5 * y) < width) & (y > 0.05) & (y < 0.95)
        over(picture, mask, ink)


def leaves(rng: np.random.Generator, x: Plane, y: Plane) -> Plane:
    """Fine ridges over coarse ones, as of leaves, bark or grass."""
    field = 1.0 - np.abs(waves(rng, x, y, octaves=4, first=3.0))
    light = 0.5 + 0.35 * waves(rng, x, y, octaves=1, first=0.7)
    return colour(rng) * 0.4 + (0.25 * field + 0.3 * light)[..., None] * (0.6 + colour(rng))


def houses(rng: np.random.Generator, x: Plane, y: Plane) -> Plane:
    """A front of bricks and windows, seen at a slant."""
    lean = rng.uniform(-0.25, 0.25)
    u, v = x * (1.0 + 0.3 * lean * y), y + lean * x
    row = np.floor(v * 26.0)
    inside = (u * 11.0 + 0.5 * (row % 2.0)) % 1.0
    wall, joint = colour(rng), colour(rng)
    tint = 0.06 * np.sin(12.9898 * np.floor(u * 11.0 + 0.5 * (row % 2.0)) + 78.233 * row)
    picture = np.broadcast_to(wall, (*x.shape, 3)) + tint[..., None]
    over(picture, (inside < 0.08) | ((v * 26.0) % 1.0 < 0.16), joint)
    across, down = (u * 3.0) % 1.0, (v * 2.4) % 1.0
    window = (np.abs(across - 0.5) < 0.3) & (np.abs(down - 0.5) < 0.33)
    frame = (np.abs(across - 0.5) > 0.27) | (np.abs(down - 0.5) > 0.3)
    frame |= (np.abs(across - 0.5) < 0.015) | (np.abs(down - 0.4) < 0.015)
    over(picture, window, shaded(rng, x, y) * 0.6)
    over(picture, window & frame, colour(rng))
    return picture


KINDS: tuple[Draw, ...] = (things, stripes, stones, letters, leaves, houses)


def picture(kind: Draw, number: int) -> NDArray[np.uint8]:
    """Draw a picture: SIDE x SIDE x 3 uint8.

    Args:
        kind: of `KINDS`.
        number: which one of it.
    """
    rng = np.random.default_rng([KINDS.index(kind), number])
    at = (np.arange(SIDE * FINE) + 0.5) / (SIDE * FINE)
    y, x = np.meshgrid(at, at, indexing="ij")
    fine = np.clip(kind(rng, x, y), 0.0, 1.0)
    soft = fine.reshape(SIDE, FINE, SIDE, FINE, 3).mean(axis=(1, 3))
    return (soft * 255.0 + 0.5).astype(np.uint8)


def main() -> None:
    """Make all of them."""
    FOLDER.mkdir(exist_ok=True)
    for kind in KINDS:
        for number in range(OF_EACH):
            Image.fromarray(picture(kind, number)).save(
                FOLDER / f"{kind.__name__}-{number + 1}.png", optimize=True
            )


if __name__ == "__main__":
    main()
