"""What the catalogue says of operations and rules, for jitted code."""

from . import catalogue
from .jit import inner

depends_on_mode = inner(catalogue.depends_on_mode)
is_norm = inner(catalogue.is_norm)
n_states_of = inner(catalogue.n_states_of)
