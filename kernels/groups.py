"""The functions of `codes.py` for jitted code."""

from . import codes
from .jit import inner

is_activation = inner(codes.is_activation)
is_basic = inner(codes.is_basic)
is_norm = inner(codes.is_norm)
depends_on_mode = inner(codes.depends_on_mode)
has_parameters = inner(codes.has_parameters)
n_states_of = inner(codes.n_states_of)
