"""Requests to stop: a thread that compiles or trains ends at its next safe point.

Python runs signal handlers in the main thread only. Their exceptions (KeyboardInterrupt, or that of
a time-out) may occur at any bytecode there. Other threads check a flag instead.
"""

import contextvars

# The interval, in seconds, at which a waiting main thread checks for signals: a signal delivered to
# another thread, or `_thread.interrupt_main`, does not wake it.
POLL_SECONDS = 0.05


class Interruption:
    """A flag that ends the work of the threads that check it.

    It is a plain attribute: Python handles no signals during an assignment, but it may in a method.
    """

    requested = False


_current = contextvars.ContextVar("fastnn_interruption", default=None)


def run_interruptible(interruption, function, *arguments):
    """Return function(*arguments), whose work ends when `interruption` is requested.

    It runs in a context of its own. A `with` block that sets and resets a variable would not reset
    it if a signal handler raised an exception at its end.
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
    """Wait until each of the `locks` has been free, even if signals arrive meanwhile.

    If a signal handler raises meanwhile, its exception is raised at the end.
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
