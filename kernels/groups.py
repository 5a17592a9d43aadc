"""What the catalogue says of operations and rules, for jitted code."""

from . import catalogue
from .jit import inner

depends_on_mode = inner(catalogue.depends_on_mode)
is_norm = inner(catalogue.is_norm)
is_adaptive = inner(catalogue.is_adaptive)


def _chain(rows):
    """Return a jittable function (rule): the number of states that the first fitting row has."""
    if not rows:
        return inner(lambda rule: 0)
    code, n_states, others = rows[0].code, rows[0].n_states, _chain(rows[1:])
    return inner(lambda rule: n_states if rule == code else others(rule))


# Comparisons with constants, as in the chains of rules: LLVM joins them. A table in memory it could
# not.
n_states_of = _chain([row for row in catalogue.RULES if row.n_states > 0])
