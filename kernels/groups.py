"""What the catalogue says of operations and rules, for kernels."""

from . import catalogue
from .chains import one_of, states_of
from .jit import inner

is_norm = one_of(inner, catalogue.NORMS)
depends_on_mode = one_of(inner, catalogue.DEPENDENT_ON_MODE)
is_residual = one_of(inner, catalogue.RESIDUAL)
is_adaptive = inner(catalogue.is_adaptive)
n_states_of = states_of(inner)
