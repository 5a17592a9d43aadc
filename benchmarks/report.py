"""How results are shown: numbers, tables, and the marked part of README."""

from typing import NamedTuple


def markers(name):
    """Return the two lines around a part of README."""
    return f"<!-- {name}:begin -->", f"<!-- {name}:end -->"


BEGIN, END = markers("benchmarks")


class Table(NamedTuple):
    """A table with a title above it and what a reader must know."""

    title: str
    text: str
    header: tuple
    rows: list

    def markdown(self):
        """Return the table in Markdown, padded so that it reads as well in a terminal."""
        rows = [self.header, *self.rows]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = []
        for row in rows:
            first, *others = (cell.rjust(width) for cell, width in zip(row, widths, strict=True))
            lines.append("| " + " | ".join([first.strip().ljust(widths[0]), *others]) + " |")
        rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
        lines.insert(1, "| " + " | ".join(rule) + " |")
        return "\n".join(lines)

    def section(self, level="##"):
        return f"{level} {self.title}\n\n{self.text}\n\n{self.markdown()}\n"


def digits(number):
    """Return a positive number with three significant digits: 1.52, 15.2, 152, 2,140."""
    if number >= 999.5:
        return f"{float(f'{number:.3g}'):,.0f}"
    places = 0 if number >= 99.95 else 1 if number >= 9.995 else 2
    return f"{number:.{places}f}"


def microseconds(seconds):
    return digits(seconds * 1e6)


def times(ratio):
    """Return how many times as fast fastnn is; a loss says so."""
    return f"{digits(ratio)}x" if ratio >= 0.995 else f"{digits(ratio)}x, slower"


def percent(fraction):
    return f"{100 * fraction:.0f} %"


def replace_marked(text, block, name="benchmarks"):
    """Return `text` with `block` between two markers; ValueError where they are missing."""
    first, last = markers(name)
    before, begin, rest = text.partition(first)
    _, end, after = rest.partition(last)
    if not (begin and end):
        raise ValueError(f"no {first} and {last} in this order")
    return f"{before}{first}\n{block.strip()}\n{last}{after}"
