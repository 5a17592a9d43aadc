"""The weights phase of the tables of an EMBEDDING: their gradient, and the step along it.

Threads share the numbers of all tables, in pieces of TABLE_PIECE. A piece is a block of the phase
(`threads.py`); those of a share come before its blocks of weights (`weights.py`). All numbers take
a step, also those of categories that are not in the batch: momentum and weight decay move them.

`columns` is None for networks without tables: then nothing of this is compiled.
"""

from .codes import SumRow
from .embedding import form_layer_tables, stack_table
from .jit import inner
from .pointers import pointer
from .table import TABLE_PIECE
from .threads import complete, count_shares, share, take
from .update import add_slopes, follow, is_penalized, penalty_of, sum_squares, wide_square


@inner
def count_pieces(begin, end):
    """Return how many pieces the numbers [begin, end) of the tables are."""
    return (end - begin + TABLE_PIECE - 1) // TABLE_PIECE


@inner
def count_tables(columns, layers, shares):
    """Return how many blocks all shares of the tables have together."""
    total = 0
    if columns is not None:
        for owner in range(shares):
            begin, end = share(layers[0].table_size, TABLE_PIECE, owner, shares)
            total += count_pieces(begin, end)
    return total


@inner
def update_tables(
    columns, layers, memory, states, rows, rule, now, factors, phase, owner, block
):  # fmt: skip
    """Step down the gradients of the tables that lie in a share, from a block of it on.

    The rest is as in `weights.update_weights`, `factors` are its `scale` and `strength`. Return
    whether this thread has completed the phase, its next block, and the number of those here.
    """
    last, count = False, 0
    if columns is not None:
        layer = layers[0]
        begin, end = share(layer.table_size, TABLE_PIECE, owner, count_shares(phase.threads))
        count = count_pieces(begin, end)
        while block < count:
            at = begin + block * TABLE_PIECE
            if layer.trains != 0:
                update_piece(
                    columns, layer, memory, states, rows, rule, now, factors,
                    at, min(at + TABLE_PIECE, end),
                )  # fmt: skip
            last, block = complete(phase), take(phase, owner, block)
    return last, block, count


@inner
def update_piece(columns, layer, memory, states, rows, rule, now, factors, begin, end):
    """Step down the gradient of the numbers [begin, end) of the tables."""
    parameters, workspace, sums = pointer(memory[0]), pointer(memory[1]), memory[3]
    scale, strength = factors
    l1, l2 = strength * layer.weights_l1, strength * layer.weights_l2
    tables = parameters + (layer.weights + begin)
    if is_penalized(layer, strength):
        place = layer.first_sum + begin // TABLE_PIECE
        sums[SumRow.PENALTY, place] = penalty_of(tables, end - begin, abs(l1), l2)
    piece = stack_table(workspace)
    if layer.gradients >= 0:  # formed, and with the slopes of the penalties
        piece = workspace + (layer.gradients + begin)
        l1, l2 = 0.0, 0.0
    else:
        form_layer_tables(columns, layer, piece, begin, end, workspace, 0, rows)
    follow(
        tables, piece, pointer(states) + (layer.weights + begin), states.shape[1], end - begin,
        rule, now, scale, l1, l2, False,
    )  # fmt: skip


@inner
def keep_tables(columns, layers, memory, rows, strength, phase, owner, block):
    """Form the gradients of the tables that lie in a share, and keep their squares.

    Penalties are included. Return as `update_tables`.
    """
    last, count = False, 0
    if columns is not None:
        layer = layers[0]
        begin, end = share(layer.table_size, TABLE_PIECE, owner, count_shares(phase.threads))
        count = count_pieces(begin, end)
        while block < count:
            at = begin + block * TABLE_PIECE
            if layer.trains != 0:
                keep_piece(columns, layer, memory, rows, strength, at, min(at + TABLE_PIECE, end))
            last, block = complete(phase), take(phase, owner, block)
    return last, block, count


@inner
def keep_piece(columns, layer, memory, rows, strength, begin, end):
    """Keep the gradient of the numbers [begin, end) of the tables, and its squares."""
    parameters, workspace, sums = pointer(memory[0]), pointer(memory[1]), memory[3]
    piece, size = workspace + (layer.gradients + begin), end - begin
    form_layer_tables(columns, layer, piece, begin, end, workspace, 0, rows)
    add_slopes(
        piece, parameters + (layer.weights + begin), size,
        strength * layer.weights_l1, strength * layer.weights_l2,
    )  # fmt: skip
    place = layer.first_sum + begin // TABLE_PIECE
    sums[SumRow.SQUARES, place] = sum_squares(piece, size)


@inner
def keep_wide_tables(columns, layers, workspace, sums, owner, shares):
    """Keep the squares of the gradients that lie in a share, times `wide_unit`, anew."""
    if columns is not None:
        layer = layers[0]
        if layer.trains != 0:
            begin, end = share(layer.table_size, TABLE_PIECE, owner, shares)
            for at in range(begin, end, TABLE_PIECE):
                squares = 0.0
                for i in range(at, min(at + TABLE_PIECE, end)):
                    squares += wide_square(workspace + (layer.gradients + i))
                sums[SumRow.SQUARES, layer.first_sum + at // TABLE_PIECE] = squares
