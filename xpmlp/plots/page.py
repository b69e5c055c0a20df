"""A page of pictures in one file: it needs no server, no network and nothing beside it."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

_STYLE = """
body {font: 16px/1.5 system-ui, sans-serif; color: #1b1b1b; margin: 2em auto; max-width: 62em;
  padding: 0 1em}
h1 {font-size: 1.5em} h2 {font-size: 1.15em; margin-top: 2em}
img, canvas {max-width: 100%; height: auto}
canvas {border: 1px solid #bbb; width: 480px; height: 480px; image-rendering: pixelated}
table {border-collapse: collapse} td {padding: .1em 1.2em .1em 0}
p {max-width: 46em} input[type=range] {width: 20em; vertical-align: middle}
"""
# Colours of classes that are told apart by those who do not see all colours (Okabe and Ito 2008).
_COLOURS = ["#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#f0e442", "#999999"]
_SCRIPT = """
const shown = JSON.parse(document.getElementById("frames").textContent);
const bytes = Uint8Array.from(atob(shown.classes), c => c.charCodeAt(0));
const canvas = document.getElementById("boundary"), pen = canvas.getContext("2d");
const slider = document.getElementById("frame"), said = document.getElementById("step");
const side = shown.side, cell = canvas.width / side;
function at(value, axis) {
  const [low, high] = shown.ranges[axis];
  return (value - low) / (high - low) * canvas.width;
}
function draw(number) {
  for (let row = 0; row < side; row++) for (let column = 0; column < side; column++) {
    const id = bytes[(number * side + row) * side + column];
    pen.fillStyle = "#fff"; pen.globalAlpha = 1;
    pen.fillRect(column * cell, canvas.height - (row + 1) * cell, cell, cell);
    pen.globalAlpha = 0.35; pen.fillStyle = shown.colours[id % shown.colours.length];
    pen.fillRect(column * cell, canvas.height - (row + 1) * cell, cell, cell);
  }
  pen.globalAlpha = 1;
  shown.x.forEach((point, k) => {
    pen.beginPath();
    pen.arc(at(point[0], 0), canvas.height - at(point[1], 1), 4, 0, 7);
    pen.fillStyle = shown.colours[shown.y[k] % shown.colours.length];
    pen.fill(); pen.strokeStyle = "#fff"; pen.stroke();
  });
  said.textContent = "after step " + shown.steps[number];
  canvas.dataset.step = shown.steps[number];
}
slider.addEventListener("input", () => draw(+slider.value));
let timer = null;
document.getElementById("play").addEventListener("click", () => {
  if (timer) { clearInterval(timer); timer = null; return; }
  if (+slider.value >= +slider.max) slider.value = 0;
  timer = setInterval(() => {
    if (+slider.value >= +slider.max) { clearInterval(timer); timer = null; return; }
    slider.value = +slider.value + 1; draw(+slider.value);
  }, 120);
});
draw(+slider.value);
"""


class Section(NamedTuple):
    """A heading, a sentence, and what is shown below it as HTML."""

    title: str
    text: str
    content: str


def picture(path: Path, described: str) -> str:
    """Return a picture of a file as HTML that holds it."""
    data = b64encode(path.read_bytes()).decode()
    return f'<img src="data:image/png;base64,{data}" alt="{escape(described)}">'


def table(rows: Mapping[str, object]) -> str:
    """Return names and values as a table."""
    cells = (f"<tr><td>{escape(k)}</td><td>{escape(str(v))}</td></tr>" for k, v in rows.items())
    return f"<table>{''.join(cells)}</table>"


def moving_boundary(frames: Any) -> str:
    """Return what shows frames of classes on a grid one after another, with points over them."""
    count, side, _ = frames.classes.shape
    content = {
        "side": side,
        "steps": frames.steps.tolist(),
        "ranges": frames.ranges.tolist(),
        "x": np.round(frames.x, 4).tolist(),
        "y": frames.y.tolist(),
        "colours": _COLOURS,
        "classes": b64encode(frames.classes.astype(np.uint8).tobytes()).decode(),
    }
    return (
        '<canvas id="boundary" width="512" height="512"></canvas><br>'
        f'<input type="range" id="frame" min="0" max="{count - 1}" value="{count - 1}" '
        'aria-label="log point"> <button id="play">play</button> <span id="step"></span>'
        f'<script type="application/json" id="frames">{_safe(content)}</script>'
        f"<script>{_SCRIPT}</script>"
    )


def _safe(content: Any) -> str:
    return json.dumps(content).replace("</", "<\\/")


def page_of(title: str, sections: Sequence[Section]) -> str:
    """Return a page of sections."""
    parts = [
        f"<section><h2>{escape(one.title)}</h2><p>{escape(one.text)}</p>{one.content}</section>"
        for one in sections
    ]
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}'
        f"</title><style>{_STYLE}</style></head><body><h1>{escape(title)}</h1>"
        f"{''.join(parts)}</body></html>\n"
    )
