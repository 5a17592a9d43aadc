"""The binary tree in which ranks add: whichever of them adds, the bits are the same."""

from __future__ import annotations

from ..types import Floats


def add_tree(parts: Floats) -> None:
    """Add the rows of `parts` (n, ...) in a binary tree, into row 0; the others are changed."""
    span = 1
    while span < len(parts):
        for i in range(0, len(parts) - span, 2 * span):
            parts[i] += parts[i + span]
        span *= 2


def plan_additions(
    places: dict[tuple[int, int], int], begin: int, end: int, additions: list[tuple[int, int]]
) -> int:
    """Append the additions to a row of another, that give the sum over the shards [begin, end).

    The sum is that of `add_tree`. `places` are the rows of parts of the tree. Return its row.
    """
    if (begin, end) in places:
        return places[begin, end]
    middle = begin + (1 << (end - begin - 1).bit_length() - 1)
    first = plan_additions(places, begin, middle, additions)
    additions.append((first, plan_additions(places, middle, end, additions)))
    return first


def nodes_of(shards: range, n_shards: int) -> list[tuple[int, int]]:
    """Return the largest subtrees [begin, end) that some neighboring shards are made of."""
    nodes, begin = [], shards.start
    while begin < shards.stop:
        span = 1 << n_shards.bit_length()
        while begin % span or min(begin + span, n_shards) > shards.stop:
            span //= 2
        end = min(begin + span, n_shards)
        nodes.append((begin, end))
        begin = end
    return nodes
