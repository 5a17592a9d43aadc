"""What the catalogue says of operations and rules, for jitted code.

Comparisons with constants, as in the chains of `if`: LLVM joins them. A table in memory it could
not.
"""

from . import catalogue
from .jit import inner

is_adaptive = inner(catalogue.is_adaptive)


def _one_of(codes):
    """Return a jittable function (code): whether it is one of `codes`."""
    # Three at a time: each function in a chain adds to the time of a first fit.
    a, b, c = (*codes[:3], *codes[:1] * 2)[:3]
    if len(codes) <= 3:
        return inner(lambda code: code == a or code == b or code == c)
    others = _one_of(codes[3:])
    return inner(lambda code: code == a or code == b or code == c or others(code))


is_basic = _one_of(catalogue.BASIC)
is_norm = _one_of(catalogue.NORMS)
depends_on_mode = _one_of(catalogue.DEPENDENT_ON_MODE)
has_parameters = _one_of(catalogue.WITH_PARAMETERS)
is_activation = _one_of([row.code for row in catalogue.ACTIVATIONS])


def _chain(rows):
    """Return a jittable function (rule): the number of states that the first fitting row has."""
    if not rows:
        return inner(lambda rule: 0)
    code, n_states, others = rows[0].code, rows[0].n_states, _chain(rows[1:])
    return inner(lambda rule: n_states if rule == code else others(rule))


n_states_of = _chain([row for row in catalogue.RULES if row.n_states > 0])
