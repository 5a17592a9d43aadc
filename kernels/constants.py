"""Numba treats the enumerations of codes as modules, whose members are constants.

As tuples, which they are in Python, they took 3 % of the time of a first fit: each use of a member
built the whole tuple in machine code, which LLVM then had to remove.
"""

from types import ModuleType

from numba import types
from numba.extending import typeof_impl

from . import catalogue, codes


def _register(enumeration):
    module = ModuleType(type(enumeration).__name__)
    vars(module).update(enumeration._asdict())
    kind = types.Module(module)
    typeof_impl.register(type(enumeration))(lambda value, context: kind)


for _value in (*vars(catalogue).values(), *vars(codes).values()):
    if isinstance(_value, tuple) and hasattr(_value, "_fields"):
        _register(_value)
