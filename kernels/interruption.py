"""Requests to stop: how one thread ends what another one compiles or trains, at safe points.

Python runs signal handlers in the main thread only, and the exception of one (KeyboardInterrupt,
or that of a time-out) may strike at any bytecode there. Other threads are told by a flag instead.
"""

import contextvars

# A wait for other threads is broken off so often, and goes on: a signal that was delivered to
# another thread, or `_thread.interrupt_main`, does not wake the main thread.
POLL_SECONDS = 0.05


class Interruption:
    """A flag that ends the work of the threads that look at it.

    A plain attribute: Python handles no signal while it is assigned, as it could in a method.
    """

    requested = False


_current = contextvars.ContextVar("fastnn_interruption", default=None)


def run_interruptible(interruption, function, *arguments):
    """Return function(*arguments), whose work ends when `interruption` is requested.

    In a context of its own: a `with` block that sets a variable and resets it would leave the
    request behind where an exception of a signal handler strikes at its end.
    """
    context = contextvars.copy_context()
    context.run(_current.set, interruption)
    return context.run(function, *arguments)


def check_interruption():
    """Raise KeyboardInterrupt if this thread has to end its work."""
    interruption = _current.get()
    if interruption is not None and interruption.requested:
        raise KeyboardInterrupt


def wait_for(locks):
    """Return when all `locks` have been free, whatever signals arrive meanwhile.

    The exception of a signal handler is raised after that.
    """
    found = None
    for lock in locks:
        waiting = True
        while waiting:
            try:
                with lock:
                    waiting = False
            except BaseException as error:
                found = error
    if found is not None:
        raise found
