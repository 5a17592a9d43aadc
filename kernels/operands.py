"""The operands of the gradient of weights: the inputs of a batch, and the gradients of its outputs.

The product goes down the rows of a batch, a few columns at a time. Where rows are two pages of
memory apart or more, each is also written into panels (`packing.py`) when it has been computed, and
the product reads these. Measured on one core, with panels against without: 0.95 of the time of a
step of 784-2048-2048-10, batch 512, and 0.97 for 3072-512-10; but 1.02 for 784-1536-1536-10 and
1.04 for 784-1024-1024-10, where the copy costs more than it gains. Batches of thousands of rows are
packed at smaller widths (`LONG_COLUMNS` of `target.py`).
"""

from .jit import inner
from .packing import panel_width
from .tile import Columns, Rows, tile_columns


@inner
def left_operand(layer, workspace, row, first):
    """Return the left operand, `Columns`, from its row `row` and the sample `first` on.

    Where it is packed, a panel begins with the row.
    """
    if layer.packs_left:
        place, distance = _place(layer, workspace + layer.left, layer.rows, row, first)
        return Columns(place, distance)
    return Columns(workspace + (layer.left + first * layer.left_row + row), layer.left_row)


@inner
def right_operand(layer, workspace, column, first):
    """Return the right operand, `Rows`, from a column and the sample `first` on."""
    if layer.packs_right:
        place, distance = _place(layer, workspace + layer.right, layer.columns, column, first)
        return Rows(place, distance)
    return Rows(workspace + (layer.right + first * layer.right_row + column), layer.right_row)


@inner
def _place(layer, panels, size, index, first):
    """Return a panel, from column `index` of `size` and a sample on, and its width."""
    padded = panel_width(panels, size - index)
    return panels + (index * layer.operand_rows + first * padded), padded


@inner
def operand_height(layer, like, height):
    """Return of how many rows, at most `height`, the left operand lies in one piece."""
    return tile_columns(like) if layer.packs_left else max(height, 1)
