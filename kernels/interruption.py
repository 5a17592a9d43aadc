"""Requests to stop: how one thread ends what another one compiles or trains, at safe points.

Python runs signal handlers in the main thread only, and the exception of one (KeyboardInterrupt,
or that of a time-out) may strike at any bytecode there. Other threads are told by a flag instead.
"""

import contextvars

# Seconds after which the main thread looks for signals while it waits for others: one that was
# delivered to another thread, or `_thread.interrupt_main`, does not wake it.
POLL_SECONDS = 0.05


class Interruption:
    """A flag that ends the work of the threads that look at it.

    It is a plain attribute: Python handles no signal while it is assigned, and it could in a
    method.
    """

    requested = False


_current = contextvars.ContextVar("fastnn_interruption", default=None)


def run_interruptible(interruption, function, *arguments):
    """Return function(*arguments), whose work ends when `interruption` is requested.

    It runs in a context of its own. A `with` block that sets a variable and resets it would leave
    the request behind if a signal handler raised an exception at its end.
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

    An exception that a signal handler raises meanwhile is raised after that.
    """
    pending = None
    for lock in locks:
        waiting = True
        while waiting:
            try:
                with lock:
                    waiting = False
            except BaseException as error:
                pending = error
    if pending is not None:
        raise pending
