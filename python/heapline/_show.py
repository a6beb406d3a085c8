"""How numbers and tables are shown, in a terminal and in a notebook.

HTML is made here and nowhere else, so that everything is escaped; its colours are the page's own (currentColor) and two accents that
can be read on white and on black.
"""

from __future__ import annotations

from html import escape

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_ACCENT = "#d9730d"
_FILL = "#3b82f6"
_BLOCKS = " ▁▂▃▄▅▆▇█"


def size(value: int) -> str:
    """As the reports of the command write it."""
    sign, amount = "-" if value < 0 else "", float(abs(value))
    if amount < 1000:
        return f"{sign}{int(amount)} B"
    amount /= 1000
    units = ("kB", "MB", "GB", "TB", "PB", "EB")
    unit = 0
    while amount >= 999.95 and unit < len(units) - 1:
        amount /= 1000
        unit += 1
    return f"{sign}{amount:.2f} {units[unit]}" if amount < 9.995 else f"{sign}{amount:.1f} {units[unit]}"


def duration(seconds: float) -> str:
    return (
        f"{seconds * 1000:.0f} ms"
        if seconds < 0.9995
        else f"{seconds:.2f} s"
        if seconds < 99.995
        else f"{seconds:.0f} s"
    )


def number_of(count: int, what: str) -> str:
    return f"{count:,} {what}" if count == 1 else f"{count:,} {what}s"


# ------------------------------------------------------------------------------------------------------------- curves


def columns(points: Sequence[tuple[float, int]], count: int) -> list[int]:
    """A curve that stays as it is until its next point, as `count` columns of equal width, each with the highest value in it. The
    points are (end of an interval, highest in it)."""
    if not points:
        return []
    begin, end = 0.0, points[-1][0]
    width = (end - begin) / count or 1.0
    result = [0] * count
    before = 0.0
    for time, value in points:
        first = min(count - 1, max(0, int((before - begin) / width)))
        last = min(count - 1, max(first, int((time - begin) / width - 1e-9)))
        for i in range(first, last + 1):
            result[i] = max(result[i], value)
        before = time
    return result


def sparkline(points: Sequence[tuple[float, int]], width: int = 40) -> str:
    """The curve in one line of a terminal."""
    values = columns(points, width)
    highest = max(values, default=0)
    return "".join(_BLOCKS[-(-value * 8 // highest)] if highest else _BLOCKS[0] for value in values)


def curve(points: Sequence[tuple[float, int]], *, width: int = 420, height: int = 56) -> str:
    """The curve as SVG: the heap over time, its highest point marked."""
    values = columns(points, min(width // 2, max(24, 4 * len(points))))
    highest = max(values, default=0)
    if not highest:
        return ""
    step, top = width / len(values), 5.0
    y = [height - 1 - (height - 1 - top) * value / highest for value in values]
    path = "".join(f"H{i * step:.1f}V{at:.1f}" for i, at in enumerate(y)) + f"H{width}"
    peak = values.index(highest)
    label = f"heap over {duration(points[-1][0])}, at most {size(highest)}"
    return (
        f'<svg class="hl-curve" viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img" '
        f'aria-label="{escape(label)}"><title>{escape(label)}</title>'
        f'<path d="M0 {height - 1}{path}V{height - 1}Z" fill="{_FILL}" fill-opacity=".28"/>'
        f'<path d="M0 {height - 1}{path}" fill="none" stroke="{_FILL}" stroke-width="1.5" stroke-linejoin="round"/>'
        f'<path d="M0 {height - 0.5}H{width}" stroke="currentColor" stroke-opacity=".35"/>'
        f'<circle cx="{(peak + 0.5) * step:.1f}" cy="{top:.1f}" r="3" fill="{_ACCENT}"/></svg>'
    )


# ------------------------------------------------------------------------------------------------------------- tables


class Cell:
    """A number of a table, or none; a bar stands behind it for its share of the whole."""

    __slots__ = ("share", "text")

    def __init__(self, text: str, share: float = 0.0) -> None:
        self.text = text
        self.share = share


BLANK = Cell("")


def bytes_column(values: Sequence[int | None], *, whole: int = 0) -> list[Cell]:
    """With `whole`, a bar for the share of it."""
    return [
        BLANK
        if value is None
        else Cell(size(value) if value else "0", min(1.0, max(0, value) / whole) if whole > 0 else 0.0)
        for value in values
    ]


def count_column(values: Sequence[int | None]) -> list[Cell]:
    return [BLANK if value is None else Cell(f"{value:,}") for value in values]


class Rows:
    """A table: a column of line numbers, columns of numbers, and the source text."""

    def __init__(self, lines: Sequence[str], source: Sequence[str], *numbers: tuple[str, Sequence[Cell]]) -> None:
        self.lines = lines
        self.source = [text.rstrip("\n").expandtabs() for text in source]
        self.numbers = numbers

    def text(self) -> str:
        heads = ["Line", *(head for head, _ in self.numbers)]
        cells = [self.lines, *([cell.text for cell in column] for _, column in self.numbers)]
        widths = [max(len(head), *map(len, column)) if column else len(head) for head, column in zip(heads, cells)]
        rows = [[*heads, "Source"], *([*row, text] for *row, text in zip(*cells, self.source))]
        return "".join(
            ("  ".join(f"{cell:>{width}}" for cell, width in zip(row, widths)) + "  " + row[-1]).rstrip() + "\n"
            for row in rows
        )

    def html(self) -> str:
        heads = "".join(f"<th>{escape(head)}</th>" for head, _ in self.numbers)
        body = []
        for i, (line, text) in enumerate(zip(self.lines, self.source)):
            cells = [column[i] for _, column in self.numbers]
            # A line that did nothing steps back.
            quiet = "" if any(cell.text not in ("", "0") for cell in cells) else ' class="hl-quiet"'
            numbers = "".join(
                f'<td style="background:linear-gradient(to left,rgba(217,115,13,.3) {100 * cell.share:.1f}%,transparent 0)">'
                f"{escape(cell.text)}</td>"
                if cell.share > 0.005
                else f"<td>{escape(cell.text)}</td>"
                for cell in cells
            )
            body.append(
                f'<tr{quiet}><td class="hl-line">{escape(line)}</td>{numbers}<td class="hl-source">{escape(text)}</td></tr>'
            )
        return (
            f'<table class="hl-table"><thead><tr><th>Line</th>{heads}<th class="hl-source">Source</th></tr></thead>'
            f"<tbody>{''.join(body)}</tbody></table>"
        )


# Notebooks style tables, cells and zebras of their own: all of that is set here, for what is ours only.
STYLE = """<style>
.hl{font-size:13px;line-height:1.4;color:inherit;max-width:100%;overflow-x:auto}
.hl .hl-facts{display:flex;flex-wrap:wrap;gap:4px 24px;align-items:flex-end;margin:2px 0 6px}
.hl .hl-fact b{display:block;font-size:17px;font-weight:600;font-variant-numeric:tabular-nums}
.hl .hl-fact span,.hl .hl-head span,.hl .hl-note{opacity:.7}
.hl .hl-curve{display:block;max-width:100%;overflow:visible}
.hl .hl-head{margin:8px 0 2px}
.hl .hl-head b{font-weight:600}
.hl .hl-note{margin:4px 0}
.hl table.hl-table{border-collapse:collapse;border:0;margin:0 0 6px;font-size:12px;table-layout:auto;width:auto;color:inherit;background:transparent}
.hl table.hl-table th,.hl table.hl-table td{padding:1px 8px;border:0;text-align:right;white-space:pre;vertical-align:top;max-width:none;background-color:transparent;color:inherit;font-variant-numeric:tabular-nums}
.hl table.hl-table th{font-weight:600;opacity:.75;border-bottom:1px solid rgba(128,128,128,.5)}
.hl table.hl-table tr{background:transparent;border:0}
.hl table.hl-table tbody tr:hover{background:rgba(128,128,128,.14)}
.hl table.hl-table .hl-source{text-align:left;padding-left:14px;font-family:var(--jp-code-font-family,ui-monospace,SFMono-Regular,Menlo,Consolas,monospace)}
.hl table.hl-table th.hl-source{font-family:inherit}
.hl table.hl-table .hl-line{opacity:.6}
.hl table.hl-table tr.hl-quiet td.hl-source{opacity:.6}
</style>"""


def page(*parts: str) -> str:
    return f'{STYLE}<div class="hl">{"".join(parts)}</div>'


def facts(*pairs: tuple[str, str]) -> str:
    return (
        '<div class="hl-facts">'
        + "".join(
            f'<div class="hl-fact"><b>{escape(value)}</b><span>{escape(name)}</span></div>' for name, value in pairs
        )
        + "</div>"
    )


def head(title: str, more: str = "") -> str:
    return f'<div class="hl-head"><b>{escape(title)}</b> <span>{escape(more)}</span></div>'


def note(text: str) -> str:
    return f'<div class="hl-note">{escape(text)}</div>'
