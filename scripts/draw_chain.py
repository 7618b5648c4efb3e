"""Draw the picture of the chain: ``python scripts/draw_chain.py`` writes docs/img/chain.svg, ``--check`` compares it.

Boxes within boxes, because that is what a chain is: each listener wraps everything below it.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from html import escape
from pathlib import Path

TARGET = Path(__file__).parent.parent / "docs/img/chain.svg"
WIDTH, TITLE, PAD = 760, 38, 16


@dataclass(frozen=True)
class Box:
    """One step of the chain; *kind* picks its colour."""

    kind: str
    title: str
    note: str


LISTENERS = (
    Box("listener", "guard", "priority 10: may refuse, nothing below runs then"),
    Box("listener", "audit", "after guard: sees the event go in, and what came out"),
    Box("listener", "tax", "sync, in a worker thread: hands a changed event on"),
)
HANDLER = Box("handler", "handler", "the bottom of a Request[R]: answers with the R")
OBSERVERS = Box("observer", "observers", "told after the chain succeeded; cannot change the result")

STYLE = """
  text { font: 14px system-ui, sans-serif; fill: #1f2933 }
  .note { font-size: 12px; fill: #52606d }
  .code { font-family: ui-monospace, monospace }
  .listener { fill: #2b6cb0; fill-opacity: .09; stroke: #2b6cb0 }
  .handler { fill: #2f855a; fill-opacity: .22; stroke: #2f855a }
  .observer { fill: #b7791f; fill-opacity: .14; stroke: #b7791f; stroke-dasharray: 5 3 }
  .way { stroke: #52606d; stroke-width: 1.5; fill: none; marker-end: url(#tip) }
"""
TIP = (
    '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" orient="auto">'
    '<path d="M 0 0 L 8 4 L 0 8 z" fill="#52606d"/></marker></defs>'
)


def draw() -> str:
    """The whole picture as SVG."""
    depth = len(LISTENERS)
    left, top, wide = 130, 20, WIDTH - 260
    inner = 44  # height of the handler's box
    height = inner + depth * (TITLE + PAD)
    parts: list[str] = []
    for level, listener in enumerate(LISTENERS):
        parts += box(
            listener, left + level * PAD, top + level * TITLE, wide - 2 * level * PAD, height - level * (TITLE + PAD)
        )
    parts += box(HANDLER, left + depth * PAD, top + depth * TITLE, wide - 2 * depth * PAD, inner)
    below = top + height + 46
    parts += box(OBSERVERS, left, below, wide, 44)
    parts += [
        arrow(f"M 16 {top + 24} H {left - 4}"),
        label(16, top + 14, "emit(event)"),
        arrow(f"M {left + wide} {top + 24} H {WIDTH - 16}"),
        label(left + wide + 12, top + 14, "event, or R"),
        arrow(f"M {WIDTH / 2} {top + height} V {below - 4}"),
        label(WIDTH / 2 + 12, top + height + 28, "the whole chain succeeded"),
    ]
    return svg(parts, below + 44 + 20)


def svg(parts: list[str], height: int) -> str:
    """The frame around *parts*."""
    title = "An event passes listeners, each wrapping the next, down to the handler; observers are told afterwards."
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{title}">',
        f"<style>{STYLE}</style>",
        TIP,
        f'<rect width="{WIDTH}" height="{height}" rx="10" fill="#fbfcfd"/>',
        *parts,
        "</svg>\n",
    ])  # fmt: skip


def box(what: Box, x: float, y: float, width: float, height: float) -> list[str]:
    """A labelled box; its name stands left, its note right of it."""
    return [
        f'<rect class="{what.kind}" x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="7"/>',
        f'<text x="{x + 12:g}" y="{y + 25:g}">{escape(what.title)}</text>',
        f'<text class="note" x="{x + 100:g}" y="{y + 25:g}">{escape(what.note)}</text>',
    ]


def arrow(path: str) -> str:
    """A line with a tip at its end."""
    return f'<path class="way" d="{path}"/>'


def label(x: float, y: float, text: str) -> str:
    """A line of code-like text."""
    return f'<text class="note code" x="{x:g}" y="{y:g}">{escape(text)}</text>'


def main() -> int:
    """Write the picture, or say that it is out of date."""
    if "--check" not in sys.argv:
        TARGET.write_text(draw())
        return 0
    if TARGET.read_text() == draw():
        return 0
    print(f"{TARGET.name} is out of date: run python scripts/draw_chain.py")
    return 1


if __name__ == "__main__":
    sys.exit(main())
