"""The report as a page: the network's computations, green where right, red where first wrong."""

from __future__ import annotations

from html import escape

from xpmlp.teach.findings import Finding, Looked
from xpmlp.teach.layout import number_of

_GREEN, _RED, _GREY = "#2a7f3f", "#b3261e", "#767676"
_BOX, _GAP, _HIGH = 118, 34, 46
_STYLE = """
.xpmlp-teach {font: 14px/1.45 system-ui, sans-serif; color: #1b1b1b; max-width: 60em}
.xpmlp-teach h3 {margin: .4em 0; font-size: 1.1em}
.xpmlp-teach code {background: #f0f0f0; padding: 0 .25em}
.xpmlp-teach .first {border-left: 4px solid #b3261e; padding-left: .8em; margin: .6em 0}
.xpmlp-teach .ok {color: #2a7f3f}
"""


def page_of(report: Looked) -> str:
    """Return a part of an HTML page, by itself, without anything from elsewhere."""
    parts = [f"<style>{_STYLE}</style>", '<div class="xpmlp-teach">']
    parts.append(f"<h3>network {escape(str(report.mlp))}</h3>")
    parts.append(graph_of(report))
    if report.passed:
        parts.append('<p class="ok">Everything that was looked at is right.</p>')
    for number, finding in enumerate(report.findings):
        parts.append(_told(finding, first=number == 0))
    if report.right:
        right = ", ".join(map(escape, report.right))
        parts.append(f'<p class="ok">right: {right}</p>')
    parts.append("</div>")
    return "\n".join(parts)


def _told(finding: Finding, *, first: bool) -> str:
    begin = '<div class="first">' if first else "<div>"
    evidence = f"<br>{escape(finding.evidence)}" if finding.evidence else ""
    return (
        f"{begin}<b>{escape(finding.function)}</b>: {escape(finding.says)}.{evidence}"
        f"<br>right: <code>{escape(finding.formula)}</code>, {escape(finding.section)}</div>"
    )


def graph_of(report: Looked) -> str:
    """Return the picture of the computations: forward above, the gradients below."""
    mlp, steps = report.mlp, report.mlp.layers
    width = (steps + 2) * (_BOX + _GAP) + _GAP
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} 210" '
        f'width="{min(width, 900)}" role="img" aria-label="computation graph">'
        '<defs><marker id="tip" markerWidth="8" markerHeight="8" refX="7" refY="4" '
        'orient="auto"><path d="M0,0 L8,4 L0,8 z" fill="#767676"/></marker></defs>'
    ]
    forward_right = _all_right(report, "forward")
    names = [f"x ({mlp.sizes[0]})"]
    for layer in range(1, steps + 1):
        f = mlp.activation_names[layer - 1] if layer < steps else mlp.loss_function.link.name
        names.append(f"{f} ({mlp.sizes[layer]})")
    names.append("loss")
    for place, name in enumerate(names):
        colour = _GREY if place == 0 else _forward_colour(report, place, steps, forward_right)
        parts.append(_box(place, 20, name, f"layer {place}" if 0 < place <= steps else "", colour))
        if place:
            parts.append(_arrow(place - 1, place, 43))
    for layer in range(steps, 0, -1):
        colour = _gradient_colour(report, layer)
        parts.append(_box(layer, 130, f"δ of layer {layer}", "∂C/∂W, ∂C/∂b", colour))
        parts.append(_arrow(layer + 1, layer, 153))
    parts.append(_box(steps + 1, 130, "δ = ∂C/∂z", "", _GREY))
    parts.append("</svg>")
    return "".join(parts)


def _all_right(report: Looked, function: str) -> bool:
    return any(text.startswith(function) for text in report.right)


def _forward_colour(report: Looked, place: int, steps: int, right: bool) -> str:
    function = "loss" if place == steps + 1 else "forward"
    found = [f for f in report.findings if f.function == function]
    if function == "loss":
        return _RED if found else _GREEN if _all_right(report, "loss") else _GREY
    if right:
        return _GREEN
    at = next((f.layer for f in found if f.layer is not None), None)
    if at is None:
        return _RED if found else _GREY
    return _RED if place == at else _GREEN if place < at else _GREY


def _gradient_colour(report: Looked, layer: int) -> str:
    """Return red where the gradient is wrong first, on the way back; grey below."""
    if _all_right(report, "gradients") or _all_right(report, "step"):
        return _GREEN
    wrong = [number_of(name) for name in report.wrong_parameters]
    if not wrong:
        return _GREY
    return _RED if layer == wrong[0] else _GREEN if layer > wrong[0] else _GREY


def _box(place: int, top: int, text: str, below: str, colour: str) -> str:
    left = _GAP + place * (_BOX + _GAP)
    middle = left + _BOX / 2
    small = (
        f'<text x="{middle}" y="{top + 38}" text-anchor="middle" font-size="11" '
        f'fill="#444">{escape(below)}</text>'
    )
    return (
        f'<g data-colour="{colour}"><rect x="{left}" y="{top}" width="{_BOX}" height="{_HIGH}" '
        f'rx="6" fill="{colour}1a" stroke="{colour}" stroke-width="2"/>'
        f'<text x="{middle}" y="{top + 21}" text-anchor="middle" font-size="13" '
        f'font-family="system-ui, sans-serif">{escape(text)}</text>{small if below else ""}</g>'
    )


def _arrow(start: int, end: int, y: int) -> str:
    left, right = (_GAP + place * (_BOX + _GAP) for place in sorted((start, end)))
    x1, x2 = (left + _BOX, right) if start < end else (right, left + _BOX)
    return (
        f'<line x1="{x1}" y1="{y}" x2="{x2}" y2="{y}" stroke="#767676" stroke-width="1.5" '
        'marker-end="url(#tip)"/>'
    )
