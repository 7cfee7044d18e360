"""A page to compare a result with what it was made of: one HTML file that loads nothing from elsewhere."""

import base64
import html
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from camixersr.image.part import bicubic_part, most_detailed, read_part
from camixersr.image.stream import reduced
from camixersr.routemap import heat

__all__ = ["Routes", "glance", "page"]

QUALITY = 90
"""Of the pictures: JPEG without reduced colour; WebP where there is transparency."""
OVERVIEW, DETAIL = 512, 256
"""Longest sides of what a notebook shows, in pixels of the result."""


@dataclass(frozen=True)
class Routes:
    """Where attention went, as a layer over the result.

    Attributes:
        shares: rows x columns in [0, 1], one a window.
        side: height and width of a window, in pixels of the result.
        left: columns of the result to the left of what the page shows.
        top: rows above it.
    """

    shares: NDArray[np.float64]
    side: tuple[float, float]
    left: int = 0
    top: int = 0


def page(
    before: NDArray[np.uint8],
    after: NDArray[np.uint8],
    *,
    title: str,
    names: tuple[str, str],
    facts: Mapping[str, str],
    remark: str = "",
    routes: Routes | None = None,
) -> str:
    """Make the page: a slider between two pictures, zoom, and the route map as a layer.

    Args:
        before: H x W x 3, or 4 with alpha, sRGB.
        after: of the same height and width.
        title: heading of the page.
        names: of the two, for their labels.
        facts: what to list, in this order.
        remark: a line for a person; empty for none.
        routes: the layer; None for none.

    Returns:
        HTML, whole and by itself.
    """
    height, width = after.shape[:2]
    listed = "".join(
        f"<div><dt>{html.escape(key)}<dd>{html.escape(value)}</div>" for key, value in facts.items()
    )
    layer = button = ""
    if routes is not None:
        rows, columns = routes.shares.shape
        style = (
            f"left:{-routes.left}px;top:{-routes.top}px;"
            f"width:{columns * routes.side[1]:.3f}px;height:{rows * routes.side[0]:.3f}px"
        )
        map_of = Image.fromarray(heat(routes.shares).round().astype(np.uint8))
        layer = f'<img id="routes" hidden alt="" style="{style}" src="{_uri(map_of, "PNG")}">'
        button = '<button id="map" aria-pressed="false">Route map (R)</button>'
    parts = {
        "TITLE": html.escape(title),
        "WIDTH": str(width),
        "HEIGHT": str(height),
        "BEFORE_NAME": html.escape(names[0]),
        "AFTER_NAME": html.escape(names[1]),
        "BUTTON": button,
        "REMARK": f"<p>{html.escape(remark)}</p>" if remark else "",
        "FACTS": listed,
        "LAYER": layer,
        "BEFORE": _picture(before),
        "AFTER": _picture(after),
    }
    pieces = _PAGE.split("@@")  # words between two marks are names of parts
    return "".join(parts[piece] if number % 2 else piece for number, piece in enumerate(pieces))


def glance(
    source: Path,
    target: Path,
    *,
    low: tuple[int, int],
    high: tuple[int, int],
    routes: Routes | None = None,
) -> str:
    """What a notebook shows of a result: a detail before and after, and the route map over the whole.

    Args:
        source: the picture's file.
        target: the result's.
        low: height, width of the picture.
        high: of the result.
        routes: where attention went; None for no map.

    Returns:
        A piece of HTML.

    Raises:
        ImageError: one of the files has gone, or is damaged.
    """
    factor = min(1.0, OVERVIEW / max(high))
    small = (max(1, round(high[0] * factor)), max(1, round(high[1] * factor)))
    whole = reduced(target, height=small[0], width=small[1])
    share = [min(1.0, DETAIL / length) for length in high]
    found = most_detailed(whole, *(max(1, round(n * part)) for n, part in zip(small, share, strict=True)))
    part = found.scaled(small, low)
    shows = part.scaled(low, high)
    margin = 4 * max(1, -(-low[0] // high[0]), -(-low[1] // high[1]))
    around = part.around(margin, low)
    before = bicubic_part(read_part(source, around), around, shows, low=low, high=high)
    figures = [("bicubic" if low != high else "before", before), ("camixersr", read_part(target, shows))]
    if routes is not None:
        rows, columns = (
            ((np.arange(length) + 0.5) * full / length / side).astype(int).clip(0, most - 1)
            for length, full, side, most in zip(small, high, routes.side, routes.shares.shape, strict=True)
        )
        grey = whole.mean(axis=2, keepdims=True)
        figures.append(("route map", 0.3 * grey + 0.7 * heat(routes.shares[np.ix_(rows, columns)])))
    return "".join(
        f'<figure style="display:inline-block;margin:4px"><img height="{DETAIL}" alt="{name}" '
        f'src="{_picture(np.rint(pixels).astype(np.uint8))}"><figcaption>{name}</figcaption></figure>'
        for name, pixels in figures
    )


def _picture(pixels: NDArray[np.uint8]) -> str:
    image = Image.fromarray(np.ascontiguousarray(pixels))
    return _uri(image, "WEBP" if pixels.shape[2] == 4 else "JPEG")


def _uri(image: Image.Image, kind: str) -> str:
    buffer = io.BytesIO()
    how = {"JPEG": {"quality": QUALITY, "subsampling": 0}, "WEBP": {"quality": QUALITY}}.get(kind, {})
    image.save(buffer, kind, **how)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"


_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
  content="default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'">
<title>@@TITLE@@</title>
<style>
:root { color-scheme: dark; font: 15px/1.5 system-ui, sans-serif; background: #18181c; color: #eee; }
body { margin: 0; display: flex; flex-direction: column; height: 100vh; }
header, footer { padding: .5rem 1rem; display: flex; flex-wrap: wrap; gap: .4rem 1rem;
  align-items: center; }
h1 { font-size: 1rem; margin: 0 auto 0 0; overflow-wrap: anywhere; }
button { font: inherit; padding: .1rem .7rem; }
#stage { position: relative; flex: 1; min-height: 8rem; overflow: hidden; cursor: grab;
  touch-action: none; }
#view { position: absolute; transform-origin: 0 0; width: @@WIDTH@@px; height: @@HEIGHT@@px;
  overflow: hidden; background: repeating-conic-gradient(#666 0 25%, #888 0 50%) 0 0 / 16px 16px; }
#view img { position: absolute; left: 0; top: 0; width: 100%; height: 100%; user-select: none; }
#view.close img { image-rendering: pixelated; }
#view #routes { image-rendering: pixelated; opacity: .55; }
#line { position: absolute; top: 0; bottom: 0; width: 2px; margin-left: -1px; background: #fff;
  box-shadow: 0 0 4px #000; }
#grip { position: absolute; top: 0; bottom: 0; width: 36px; margin-left: -18px; cursor: ew-resize; }
.name { position: absolute; bottom: .5rem; padding: 0 .5rem; background: #000a; pointer-events: none; }
#first { left: .5rem; } #second { right: .5rem; }
label { display: flex; gap: .5rem; align-items: center; flex: 1 1 16rem; } #at { flex: 1; }
p { margin: 0; width: 100%; } dl { display: flex; flex-wrap: wrap; gap: 0 1.2rem; margin: 0; }
dl div { display: flex; gap: .4rem; }
dt { color: #aaa; } dd { margin: 0; }
</style>
<header>
  <h1>@@TITLE@@</h1>
  <button id="fit">Fit (0)</button>
  <button id="full">100 % (1)</button>
  <button id="out" aria-label="Zoom out">&minus;</button>
  <output id="zoom"></output>
  <button id="in" aria-label="Zoom in">+</button>
  @@BUTTON@@
</header>
<div id="stage" tabindex="0" role="group"
  aria-label="Comparison. Left and right move the slider, with Shift the picture; plus and minus zoom.">
  <div id="view">
    <img id="before" alt="@@BEFORE_NAME@@" draggable="false" src="@@BEFORE@@">
    <img id="after" alt="@@AFTER_NAME@@" draggable="false" src="@@AFTER@@">
    @@LAYER@@
  </div>
  <div id="line"></div><div id="grip"></div>
  <span class="name" id="first">@@BEFORE_NAME@@</span>
  <span class="name" id="second">@@AFTER_NAME@@</span>
</div>
<footer>
  <label>@@BEFORE_NAME@@ <input id="at" type="range" min="0" max="100" step="0.1" value="50"
    aria-label="Slider: @@BEFORE_NAME@@ to the left, @@AFTER_NAME@@ to the right"> @@AFTER_NAME@@</label>
  @@REMARK@@
  <dl>@@FACTS@@</dl>
</footer>
<script>
"use strict";
const find = (id) => document.getElementById(id);
const stage = find("stage"), view = find("view"), at = find("at"), routes = find("routes");
const width = @@WIDTH@@, height = @@HEIGHT@@;
let zoom = 1, x = 0, y = 0, fitted = true;

function draw() {
  view.style.transform = `translate(${x}px, ${y}px) scale(${zoom})`;
  view.classList.toggle("close", zoom > 1.5);
  const place = stage.clientWidth * at.value / 100;  // of the slider: it stays where it is when zoomed
  find("line").style.left = find("grip").style.left = `${place}px`;
  const cut = Math.min(width, Math.max(0, (place - x) / zoom));
  find("after").style.clipPath = `inset(0 0 0 ${cut}px)`;
  find("before").style.clipPath = `inset(0 ${width - cut}px 0 0)`;
  find("zoom").textContent = `${Math.round(100 * zoom)} %`;
}
function fit() {
  fitted = true;
  zoom = Math.min(stage.clientWidth / width, stage.clientHeight / height);
  x = (stage.clientWidth - width * zoom) / 2; y = (stage.clientHeight - height * zoom) / 2;
  draw();
}
function magnify(factor, left = stage.clientWidth / 2, top = stage.clientHeight / 2) {
  const next = Math.min(32, Math.max(0.02, zoom * factor));
  x = left - (left - x) * next / zoom; y = top - (top - y) * next / zoom;
  zoom = next; fitted = false; draw();
}
function slide(by) { at.value = Number(at.value) + by; draw(); }
function pan(across, down) { x += across; y += down; fitted = false; draw(); }
function map() {
  if (!routes) return;
  routes.hidden = !routes.hidden;
  find("map").setAttribute("aria-pressed", String(!routes.hidden));
}
const keys = {
  "+": () => magnify(1.25), "=": () => magnify(1.25), "-": () => magnify(0.8),
  "0": fit, "1": () => magnify(1 / zoom), "r": map, "R": map,
};
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const step = {ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1]}[event.key];
  if (keys[event.key]) keys[event.key]();
  else if (step && event.shiftKey) pan(-60 * step[0], -60 * step[1]);
  else if (step && step[0] && event.target !== at) slide(2 * step[0]);
  else return;
  event.preventDefault();
});
at.addEventListener("input", draw);
find("fit").onclick = fit; find("full").onclick = keys["1"];
find("in").onclick = keys["+"]; find("out").onclick = keys["-"];
if (routes) find("map").onclick = map;
stage.addEventListener("wheel", (event) => {
  event.preventDefault();
  const box = stage.getBoundingClientRect();
  magnify(Math.exp(-event.deltaY / 400), event.clientX - box.left, event.clientY - box.top);
}, {passive: false});
stage.addEventListener("pointerdown", (event) => {
  const sliding = event.target === find("grip");
  stage.setPointerCapture(event.pointerId);
  let last = event;
  const move = (next) => {
    const across = next.clientX - last.clientX, down = next.clientY - last.clientY;
    if (sliding) slide(100 * across / stage.clientWidth); else pan(across, down);
    last = next;
  };
  stage.addEventListener("pointermove", move);
  const stop = () => stage.removeEventListener("pointermove", move);
  stage.addEventListener("pointerup", stop, {once: true});
  stage.addEventListener("pointercancel", stop, {once: true});
});
addEventListener("resize", () => fitted ? fit() : draw());
fit();
</script>
</html>
"""
