"""How kernels are compiled, and the cache of their machine code.

One decorator, :func:`kernel`, and one cache. Nothing is compiled at import.

Environment variables
---------------------
FASTNN_CACHE : "0" keeps no machine code on disk.
FASTNN_CACHE_DIR : the folder of the cache, an absolute path, in place of the user's cache folder.
FASTNN_CHECKS : "1" has all public kernels check their arguments (`checks.py`).
"""

import _thread
import contextlib
import contextvars
import errno
import functools
import hashlib
import os
import sys
import threading
import warnings
from pathlib import Path

import llvmlite
import numba

from . import (
    constants,  # noqa: F401  # kernels read the codes as constants
    file_locks,
    numba_private,
    private_files,
)
from .interruption import (
    POLL_SECONDS,
    Interruption,
    run_interruptible,
    wait_for,
)

CHECKS = os.environ.get("FASTNN_CHECKS", "0") == "1"

_FLAGS = {
    # Threads run kernels side by side; no kernel touches a Python object.
    "nogil": True,
    # 0.0 / 0.0 is NaN, as in NumPy, and no division carries a branch that raises.
    "error_model": "numpy",
    # Every fused multiply-add is written out (`simd.fma`), so the same source gives the same
    # bits on every vector width. Reassociation would break that; `nnan` and `ninf` would break
    # the detection of a diverging run.
    "fastmath": False,
}


def kernel(function):
    """Compile `function` on first use, for the types that it is called with."""
    if CHECKS:
        from .checks import checked  # takes 50 ms

        function = checked(function, inner(function), _FLAGS)
    dispatcher = numba.njit(**_FLAGS)(function)
    numba_private.wrap_compilation(dispatcher, _compile_apart)
    numba_private.set_cache(dispatcher, MachineCodeCache(function))
    return dispatcher


def _compile_apart(compile_for_args, *args, **kwargs):
    """Compile in a separate thread, where signal handlers do not run.

    If a signal handler raises in the compiler, such as with Ctrl-C while it loads its registries,
    its tables stay half filled, and no kernel can be compiled until the process ends. Here such an
    exception is raised after the compiler has stopped at its next safe point.
    """
    # By identifiers: `current_thread` would create an entry for a thread of `_thread`, for good.
    on_main = threading.get_ident() == threading.main_thread().ident
    # If this thread holds the compiler's lock, the other thread would wait for it forever.
    if not on_main or numba_private.holds_compiler_lock():
        return compile_for_args(*args, **kwargs)
    interruption, outcome, started = Interruption(), [], []
    ended = threading.Lock()
    ended.acquire()

    def work():
        try:
            compile_now = functools.partial(compile_for_args, *args, **kwargs)
            outcome.append((run_interruptible(interruption, compile_now), None))
        except BaseException as error:
            outcome.append((None, error))
        finally:
            ended.release()

    try:
        # Built-in functions start the thread and record it: no signal is handled in between.
        run = contextvars.copy_context().run
        started.extend(map(_thread.start_new_thread, [run], [(work,)]))
        while not ended.acquire(timeout=POLL_SECONDS):
            pass
    except BaseException as error:
        interruption.requested = True
        if not started:
            if isinstance(error, RuntimeError):  # the system has no more threads
                return compile_for_args(*args, **kwargs)
            raise
        if not outcome:
            try:
                wait_for([ended])
            finally:  # the next signal may come before the first line of `wait_for`
                wait_for([ended])
        raise
    result, error = outcome[0]
    if error is not None:
        raise error
    return result


def inner(function):
    """Compile `function` as a part of the kernels that call it, without a cache entry.

    It cannot be called from Python (MemoryError).
    """
    return numba.njit(**numba_private.inner_options(), **_FLAGS)(function)


_listeners = []


@contextlib.contextmanager
def listen(listener):
    """Call listener(name) within the block for each kernel that is not stored.

    It is called before the kernel is compiled, by the thread that compiles it.
    """
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)


# Seconds for which a process waits while another one compiles a kernel; then it compiles it too.
LONGEST_WAIT = 60


def _warn(text):
    with contextlib.suppress(Warning):  # if warnings are errors, the kernel still runs
        warnings.warn(text, RuntimeWarning, stacklevel=2)


@functools.cache
def cache_folder():
    """Return the folder of the machine code cache, or None if there is no usable folder."""
    if SOURCE_DIGEST is None or os.environ.get("FASTNN_CACHE", "1") == "0":
        return None
    if chosen := os.environ.get("FASTNN_CACHE_DIR"):
        if os.path.isabs(chosen):
            return Path(chosen)
        _warn(f"FASTNN_CACHE_DIR is {chosen!r}, expected an absolute path: it is ignored")
    import platformdirs

    try:
        folder = platformdirs.user_cache_path("fastnn", appauthor=False)
    except (RuntimeError, OSError):  # no HOME, and no entry in the password file
        return None
    # With a relative folder, the choice of the working folder would decide which code is run.
    return folder if folder.is_absolute() else None


def _digest_sources():
    """Return a digest of all that determines the machine code, apart from the CPU.

    Kernels are compiled into their callers, so an edit of any file in this folder makes all stored
    code stale. Numba's own cache checks the caller's file only, and would run stale code. Return
    None if no source can be read (a zip file, or compiled files only): then the code of two
    versions could not be distinguished.
    """
    try:
        sources = {path.name: path.read_bytes() for path in Path(__file__).parent.glob("*.py")}
    except OSError:  # such as the dangling link by which Emacs locks a file
        sources = {}
    if not sources:
        return None
    digest = hashlib.sha256()
    # Code with checks differs from code without.
    for part in (sys.version, numba.__version__, llvmlite.__version__, str(CHECKS)):
        digest.update(part.encode())
    for name in sorted(sources):
        digest.update(name.encode() + sources[name])
    return digest.hexdigest()


# At import: the code that runs is that of the files as they are now, not after a later edit.
SOURCE_DIGEST = _digest_sources()


def _checksum(path, payload):
    """Return the checksum of `payload` and the name of its file, so that a renamed file fails."""
    return hashlib.sha256(path.name.encode() + payload).digest()


_PROBLEMS = {}  # {folder: why it is not used}, so that each is warned of once


def cache_problem():
    """Return why the folder of the cache is not used, or None if it is used or can be created."""
    folder = cache_folder()
    if folder is not None and folder not in _PROBLEMS:
        try:
            private_files.open_folder(folder)
        except FileNotFoundError:
            pass
        except OSError as error:
            return str(error)
    return _PROBLEMS.get(folder)


class MachineCodeCache:
    """One file for each kernel and signature, named by everything that its code depends on.

    Processes that find no file compile one at a time, so that all but the first one find it then.
    A file is written under another name and then renamed, and begins with the checksum of the rest.
    So a reader sees a complete file or none. After any error of the disk the kernel is compiled.
    Reading a file runs code in it, so `private_files.py` checks who can have written it.
    """

    def __init__(self, function):
        self._name = f"{function.__module__}.{function.__qualname__}"
        self._locks = {}  # {thread: (open file, its path)}

    # Looked up at the first use: finding the user's folder takes 20 ms, a seventh of the import.
    _folder = property(lambda self: cache_folder())
    cache_path = property(lambda self: str(self._folder))

    def _path(self, signature, target_context):
        machine = numba_private.machine_of(target_context.codegen())
        key = (self._name, str(signature), machine, SOURCE_DIGEST)
        return self._folder / f"{hashlib.sha256(repr(key).encode()).hexdigest()[:40]}.bin"

    def load_overload(self, sig, target_context):
        """Return the stored compile result for `sig`, or None."""
        if self._folder is None:
            self._tell()
            return None
        target_context.refresh()
        try:
            path = self._path(sig, target_context)
            result = self._read(path, target_context)
            if result is None:
                self._tell()
                self._acquire(path)  # waits while another process compiles the same
                result = self._read(path, target_context)
                if result is not None:
                    self.release()
            return result
        except private_files.NotPrivateError as error:
            self._warn_of(error)
            self._tell()
        except Exception:  # if the cache cannot be read, the kernel is compiled
            pass
        return None

    def _tell(self):
        """Tell those who listen that this kernel is about to be compiled."""
        for listener in [*_listeners]:
            with contextlib.suppress(Exception):  # such as a closed stream
                listener(self._name.rpartition(".")[2])

    def _read(self, path, target_context):
        """Return the compile result in a file, or None if there is none."""
        try:
            content = private_files.read(private_files.open_folder(self._folder) / path.name)
        except FileNotFoundError:
            return None
        checksum, payload = content[:32], content[32:]
        if _checksum(path, payload) != checksum:
            return None
        return numba_private.unpack_result(target_context, payload)

    def _acquire(self, path):
        """Lock what is to be compiled, where the file system has locks.

        Numba's lock is held meanwhile: one thread of this process compiles at a time.
        """
        folder = private_files.open_folder(self._folder, make=True)
        lock = folder / f"{path.stem}.lock"
        with contextlib.suppress(OSError):
            file = file_locks.acquire(lock, LONGEST_WAIT)
            if file is not None:
                self._locks[threading.get_ident()] = file, lock

    def release(self):
        """Release the lock of this thread, if it has one."""
        held = self._locks.pop(threading.get_ident(), None)
        if held is not None:
            file_locks.release(*held)

    def save_overload(self, sig, data):
        """Store the compile result `data` for `sig`, where the disk allows it."""
        try:
            payload = None if self._folder is None else numba_private.pack_result(data)
            if payload is None:
                return
            path = self._path(sig, data.target_context)
            folder = private_files.open_folder(self._folder, make=True)
            private_files.write(folder / path.name, _checksum(path, payload) + payload)
        except private_files.NotPrivateError as error:
            self._warn_of(error)
        except OSError as error:  # a read-only disk needs no warning
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                self._warn_of(error)
        except Exception:  # the kernel runs without the cache
            pass

    def _warn_of(self, error):
        """Warn once that the cache is not used, and why."""
        if self._folder not in _PROBLEMS:
            _PROBLEMS[self._folder] = str(error)
            _warn(
                f"kernels are compiled in every process, as the cache of machine code is not used: "
                f"{error}. FASTNN_CACHE_DIR moves the cache, FASTNN_CACHE=0 turns it off"
            )

    def enable(self):
        """Do nothing: FASTNN_CACHE decides."""

    disable = flush = enable
