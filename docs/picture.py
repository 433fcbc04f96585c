"""Draw `docs/parts.svg`, the picture of the system's parts, from `docs/parts.yaml`."""

from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import yaml

SOURCE = Path(__file__).with_name("parts.yaml")
PICTURE = Path(__file__).with_name("parts.svg")

_WIDTH, _HEIGHT = 150, 84
_GAP = 40
_MARGIN = 16
_LINE = 16
_STYLE = """
text { font-family: system-ui, sans-serif; font-size: 12px; fill: #1f2933; text-anchor: middle; }
.title { font-size: 14px; font-weight: 600; }
.work { fill: #dbeafe; stroke: #1d4ed8; }
.data { fill: #f3f4f6; stroke: #6b7280; }
.arrow { stroke: #374151; stroke-width: 1.5; marker-end: url(#end); }
.both { marker-start: url(#end); }
"""


def _rectangle(box: dict[str, Any]) -> tuple[int, int, int, int]:
    """Return left, top, width and height."""
    (column, row), rows = box["at"], box.get("rows", 1)
    left = _MARGIN + column * (_WIDTH + _GAP)
    top = _MARGIN + row * (_HEIGHT + _GAP)
    return left, top, _WIDTH, rows * (_HEIGHT + _GAP) - _GAP


def _draw_box(box: dict[str, Any]) -> str:
    left, top, width, height = _rectangle(box)
    kind = "data" if box.get("data") else "work"
    lines = [box["title"], *box["text"]]
    middle, first = left + width // 2, top + height // 2 - (len(lines) - 1) * _LINE // 2 + 5
    texts = [
        f'<text x="{middle}" y="{first + place * _LINE}" class="{"text" if place else "title"}">{escape(line)}</text>'
        for place, line in enumerate(lines)
    ]
    rectangle = f'<rect x="{left}" y="{top}" width="{width}" height="{height}" rx="8" class="{kind}"/>'
    return "\n".join([rectangle, *texts])


def _draw_arrow(start: dict[str, Any], end: dict[str, Any], both: bool) -> str:
    """Draw from one box to the next on its right, or to the one below it."""
    left, top, width, height = _rectangle(start)
    to_left, to_top, _, to_height = _rectangle(end)
    if left == to_left:
        x1 = x2 = left + width // 2
        y1, y2 = top + height, to_top
    else:
        x1, x2 = left + width, to_left
        low, high = max(top, to_top), min(top + height, to_top + to_height)
        y1 = y2 = (low + high) // 2
    kind = "arrow both" if both else "arrow"
    return f'<line x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}" class="{kind}"/>'


def draw() -> str:
    """Return the picture as SVG, without external fonts, styles or scripts."""
    source = yaml.safe_load(SOURCE.read_text(encoding="utf-8"))
    boxes = source["boxes"]
    edges = [_rectangle(box) for box in boxes.values()]
    width = max(left + width for left, _, width, _ in edges) + _MARGIN
    height = max(top + height for _, top, _, height in edges) + _MARGIN
    arrows = [_draw_arrow(boxes[each["from"]], boxes[each["to"]], each.get("both", False)) for each in source["arrows"]]
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img">',
            f"<title>{escape(source['title'])}</title>",
            f"<style>{_STYLE}</style>",
            '<defs><marker id="end" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="7" markerHeight="7" '
            'orient="auto-start-reverse"><path d="M0 0 L8 4 L0 8 z" fill="#374151"/></marker></defs>',
            f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
            *map(_draw_box, boxes.values()),
            *arrows,
            "</svg>\n",
        ]
    )


if __name__ == "__main__":
    PICTURE.write_text(draw(), encoding="utf-8")
