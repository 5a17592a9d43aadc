"""Functions of Python that the compiled program calls by their address."""

from __future__ import annotations

import ctypes
from collections.abc import Callable

_CALLBACK = ctypes.CFUNCTYPE(None, ctypes.c_int64)


class Door:
    """A function of Python for compiled code; the address is valid as long as this object lives.

    An exception cannot pass through compiled code. It is kept, and `check` raises it.

    Parameters
    ----------
    function : callable
        Takes the number of a step.
    on_end : callable
        Is called without arguments when `function` has returned. Compiled code looks at what it
        writes: it is not called after an exception.
    """

    def __init__(self, function: Callable[[int], None], on_end: Callable[[], None]) -> None:
        errors: list[BaseException] = []

        def call(step: int) -> None:
            try:
                function(step)
                on_end()
            except BaseException as error:  # also Ctrl-C
                errors.append(error)

        self._errors, self._callback = errors, _CALLBACK(call)
        address = ctypes.cast(self._callback, ctypes.c_void_p).value
        assert address is not None
        self.address = address

    def check(self) -> None:
        """Raise the exception that has ended a call of the function."""
        if self._errors:
            raise self._errors[0]
