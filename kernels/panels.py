"""The weights of a network in packed panels (`packing.py`), as the matrix products read them.

Each thread packs its own rows of the weights; who updates and unpacks which is in `threads.py`.
"""

from .batches import copy_row
from .catalogue import Operation
from .jit import inner
from .packing import pack, pack_transposed, panel_width, panels_size
from .pointers import get, put
from .reduced import is_reduced, pack_weight_tiles, padded_columns, whole_tiles
from .threads import share
from .tile import tile_block, tile_columns, tile_lanes


@inner
def pack_weights(layers, parameters, panels, tiles, thread, threads):
    """Pack this thread's slices of all weights, for the forward pass and for the gradients."""
    for index in range(len(layers)):
        layer = layers[index]
        if layer.operation == Operation.DENSE:
            begin, end = share_weights(layer, panels, tiles, thread, threads)
            copy_weights(layer, parameters, panels + layer.panels, tiles, begin, end, True)
            transpose_weights(layer, panels, tiles, begin, end)


@inner
def unpack_weights(layers, parameters, panels, tiles, owner, shares):
    """Write the slices of all weights that lie in a share back into the parameter buffer."""
    for index in range(len(layers)):
        layer = layers[index]
        if layer.operation == Operation.DENSE:
            begin, end = share_weights(layer, panels, tiles, owner, shares)
            copy_weights(layer, parameters, panels + layer.panels, tiles, begin, end, False)


@inner
def exchange_states(
    layers, states, panels, tiles, rule_states, distance, into_panels, thread, threads
):
    """Copy this thread's slices of the optimizer's states of all weights into panels, or back.

    `states` are in the order of the parameters, with `distance` from one state to the next.
    """
    for index in range(len(layers)):
        layer = layers[index]
        if layer.operation == Operation.DENSE:
            begin, end = share_weights(layer, panels, tiles, thread, threads)
            if layer.trains_transposed:
                exchange_transposed(
                    layer, states, panels, rule_states, distance, into_panels, begin, end
                )
                continue
            size = panels_size(panels, layer.n_outputs, layer.n_inputs)
            for state in range(rule_states):
                place = panels + (layer.states + state * size)
                copy_weights(
                    layer, states + state * distance, place, tiles, begin, end, into_panels
                )


@inner
def exchange_transposed(
    layer, states, panels, rule_states, distance, into_panels, begin, end
):  # fmt: skip
    """As `exchange_states`, for some rows of the weights of a layer that trains transposed."""
    n_inputs, n_outputs = layer.n_inputs, layer.n_outputs
    width = tile_columns(panels)
    size = panels_size(panels, n_inputs, n_outputs)
    for state in range(rule_states):
        for row in range(begin, end):
            first = row // width * width
            padded = panel_width(panels, n_inputs - first)
            packed = panels + (layer.states + state * size + first * n_outputs + (row - first))
            plain = states + (state * distance + layer.weights + row * n_outputs)
            for j in range(n_outputs):
                if into_panels:
                    put(packed + j * padded, get(plain + j))
                else:
                    put(plain + j, get(packed + j * padded))


@inner
def share_weights(layer, panels, tiles, owner, shares):
    """Return the rows [begin, end) of a layer's weights that are in a share, a thread's.

    They are whole blocks, so that no two threads write to the same block of the panels: of weights
    that train transposed, whole panels.
    """
    return share(layer.n_inputs, weights_unit(layer, panels, tiles), owner, shares)


@inner
def weights_unit(layer, like, tiles):
    """Return how many rows of a layer's weights are a block: whole tiles, both ways."""
    if is_reduced(layer, tiles):
        return whole_tiles(tile_block(like))
    whole_panels = layer.trains_transposed or layer.packs_left
    return tile_columns(like) if whole_panels else tile_block(like)


@inner
def panel_columns(layer, like, tiles):
    """Return how many columns a whole panel of a layer's weights has.

    No product reads the panels of a layer whose operands are in bfloat16: it has a single one, so
    that a row of weights lies in one piece.
    """
    if is_reduced(layer, tiles):
        return padded_columns(like, layer.n_outputs)
    return tile_columns(like)


@inner
def panel_row(layer, like, tiles, column):
    """Return the distance between two rows of the panel that begins at a column."""
    if is_reduced(layer, tiles):
        return padded_columns(like, layer.n_outputs)
    return panel_width(like, layer.n_outputs - column)


@inner
def copy_weights(layer, parameters, panels, tiles, begin, end, into_panels):
    """Copy the rows [begin, end) of a layer's weights into its panels, or back.

    `parameters` is the whole buffer, `panels` those of the layer.
    """
    n_inputs, n_outputs = layer.n_inputs, layer.n_outputs
    width = panel_columns(layer, panels, tiles)
    for column in range(0, n_outputs, width):
        count = min(width, n_outputs - column)
        padded = panel_row(layer, panels, tiles, column)
        panel = panels + (column * n_inputs + begin * padded)
        weights = parameters + (layer.weights + begin * n_outputs + column)
        if into_panels:
            pack(panel, padded, weights, n_outputs, count, end - begin)
        else:
            for row in range(end - begin):
                copy_row(weights + row * n_outputs, panel + row * padded, count)


@inner
def transpose_weights(layer, panels, tiles, begin, end):
    """Pack the rows [begin, end) of a layer's panels for the products, in whole blocks.

    That is their transpose, or tiles of bfloat16 numbers.
    """
    if tiles is not None:
        if layer.parts > 0:
            pack_weight_tiles(layer, panels + layer.panels, tiles, begin, end)
            return
    if layer.transposed_panels >= 0:
        transpose_panels(layer, panels, begin, end)


@inner
def transpose_panels(layer, panels, begin, end):
    """Pack the transpose of the rows [begin, end) of a layer's panels, in whole blocks."""
    n_inputs, n_outputs = layer.n_inputs, layer.n_outputs
    width, block = tile_columns(panels), tile_lanes(panels)
    for row in range(begin, end, block):
        first = row // width * width
        result_row = panel_width(panels, n_inputs - first)
        result = panels + (layer.transposed_panels + first * n_outputs + (row - first))
        for column in range(0, n_outputs, width):
            count = min(width, n_outputs - column)
            padded = panel_width(panels, n_outputs - column)
            panel = panels + (layer.panels + column * n_inputs + row * padded)
            place = result + column * result_row
            pack_transposed(place, result_row, panel, padded, min(block, end - row), count)


@inner
def transpose_back(layer, panels, begin, end):
    """Pack the inputs [begin, end) of a layer's transposed panels as its panels, in whole ones.

    Copies of the last column stand where these are wider than their columns: nothing reads them.
    """
    n_inputs, n_outputs = layer.n_inputs, layer.n_outputs
    width = tile_columns(panels)
    for row in range(begin, end, width):
        source_row = panel_width(panels, n_inputs - row)
        source = panels + (layer.transposed_panels + row * n_outputs)
        for column in range(0, n_outputs, width):
            padded = panel_width(panels, n_outputs - column)
            place = panels + (layer.panels + column * n_inputs + row * padded)
            pack_transposed(
                place, padded, source + column * source_row, source_row,
                min(width, n_outputs - column), min(width, end - row),
            )  # fmt: skip
