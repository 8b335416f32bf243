"""Line charts as one SVG file, without a plotting package."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

COLOURS = ("#4c78a8", "#f58518", "#54a24b", "#b279a2", "#e45756", "#72b7b2")
WIDTH, HEIGHT = 230, 170  # of one panel's axes
FONT = 'font-family="sans-serif" font-size="11" fill="#333"'
LEFT, TOP, GAP, BOTTOM = 44, 28, 62, 66


@dataclass(frozen=True, slots=True)
class Panel:
    """One chart: `lines` are named sequences of points; `top` is the end of the y axis."""

    title: str
    lines: Mapping[str, Sequence[tuple[float, float]]]
    top: float
    across: str


def svg(panels: Sequence[Panel]) -> str:
    """The panels side by side, with one legend."""
    span = min(x for p in panels for line in p.lines.values() for x, _ in line), 1.0
    right = max(x for p in panels for line in p.lines.values() for x, _ in line)
    span = span[0], max(right, span[0] + 0.01)
    width = LEFT + len(panels) * (WIDTH + GAP) - GAP + 16
    height = TOP + HEIGHT + BOTTOM
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" {FONT}>',
        f'<rect width="{width}" height="{height}" fill="#fff"/>',
    ]
    for number, panel in enumerate(panels):
        parts += _panel(panel, LEFT + number * (WIDTH + GAP), span)
    for number, name in enumerate(panels[0].lines):
        x, y = LEFT + number * 110, height - 12
        parts.append(f'<path d="M{x} {y - 4}h18" stroke="{_colour(number)}" stroke-width="2"/>')
        parts.append(f'<text x="{x + 24}" y="{y}">{escape(name)}</text>')
    return "\n".join([*parts, "</svg>\n"])


def _panel(panel: Panel, left: float, span: tuple[float, float]) -> list[str]:
    def place(x: float, y: float) -> tuple[float, float]:
        across = (x - span[0]) / (span[1] - span[0])
        return left + across * WIDTH, TOP + HEIGHT * (1 - min(y, panel.top) / panel.top)

    parts = [f'<text x="{left}" y="{TOP - 10}" font-weight="bold">{escape(panel.title)}</text>']
    for step in range(5):
        value = panel.top * step / 4
        y = place(span[0], value)[1]
        parts.append(f'<path d="M{left} {y:.1f}h{WIDTH}" stroke="#ddd"/>')
        parts.append(f'<text x="{left - 6}" y="{y + 4:.1f}" text-anchor="end">{value:g}</text>')
    for step in range(5):
        value = span[0] + (span[1] - span[0]) * step / 4
        x = place(value, 0)[0]
        label = f'<text x="{x:.1f}" y="{TOP + HEIGHT + 16}" text-anchor="middle">{value:.2f}</text>'
        parts.append(label)
    middle = left + WIDTH / 2
    under = f'<text x="{middle}" y="{TOP + HEIGHT + 32}" text-anchor="middle">'
    parts.append(f"{under}{escape(panel.across)}</text>")
    for number, line in enumerate(panel.lines.values()):
        points = [place(x, y) for x, y in line]
        path = "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
        colour = _colour(number)
        parts.append(f'<path d="M{path}" fill="none" stroke="{colour}" stroke-width="1.8"/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.2" fill="{colour}"/>' for x, y in points]
    return parts


def _colour(number: int) -> str:
    return COLOURS[number % len(COLOURS)]
