"""Functions of a code, for jitted code, from what the catalogue says: chains of comparisons.

As in the chains of `if` they are comparisons with constants, which LLVM joins. A table in memory it
could not. Each takes the decorator that compiles: kernels use `inner`, checks plain `njit`.
"""

from . import catalogue


def one_of(compiled, codes):
    """Return a compiled function (code): whether it is one of `codes`."""
    # Three at a time: each function in a chain adds to the time of a first fit.
    a, b, c = (*codes[:3], *codes[:1] * 2)[:3]
    if len(codes) <= 3:
        return compiled(lambda code: code == a or code == b or code == c)
    others = one_of(compiled, codes[3:])
    return compiled(lambda code: code == a or code == b or code == c or others(code))


def states_of(compiled, rows=catalogue.RULES):
    """Return a compiled function (rule): how many states it has, 0 where there is no such rule."""
    rows = [row for row in rows if row.n_states > 0]
    if not rows:
        return compiled(lambda rule: 0)
    code, n_states, others = rows[0].code, rows[0].n_states, states_of(compiled, rows[1:])
    return compiled(lambda rule: n_states if rule == code else others(rule))
