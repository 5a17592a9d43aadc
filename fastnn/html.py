"""Notebooks: whether this is one, and tables and pictures in it."""

from __future__ import annotations

import base64
import html
import io
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# The notebook's own styles would stripe each row, and align text to the right.
_CELL = "padding: 2px 10px; text-align: "


def in_notebook() -> bool:
    """Return whether this process is a kernel of Jupyter, whose output a browser shows."""
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    return shell is not None and "IPKernelApp" in shell.config


def make_table(header: Sequence[str], rows: Iterable[Sequence[str]], below: str = "") -> str:
    """Return a table: the first column on the left, all others on the right.

    `below` is a line of text below it.
    """
    lines = [f"<tr>{_cells('th', header)}</tr>", *(f"<tr>{_cells('td', row)}</tr>" for row in rows)]
    text = f"<div>{html.escape(below)}</div>" if below else ""
    return f"<table>{''.join(lines)}</table>{text}"


def _cells(tag: str, row: Sequence[str]) -> str:
    return "".join(
        f'<{tag} style="{_CELL}{"right" if column else "left"}">{html.escape(cell)}</{tag}>'
        for column, cell in enumerate(row)
    )


def make_picture(figure: Figure, description: str) -> str:
    """Return a figure of matplotlib as an image."""
    file = io.BytesIO()
    figure.savefig(file, format="png")
    data = base64.b64encode(file.getvalue()).decode("ascii")
    width = round(72 * figure.get_figwidth())
    return (
        f'<img width="{width}" alt="{html.escape(description)}" src="data:image/png;base64,{data}">'
    )
