"""Private parts of numba that fastnn uses, and the behavior without them.

A release of numba may rename or remove any of them; all exist in numba 0.68.1. Without one, kernels
give the same results with plain `njit`, and the functions below say what is missing then.
`tests/test_numba_private.py` hides each part of `PARTS` in turn, and trains.

The rest that fastnn uses of numba is its documented interface for extensions: `numba.extending`,
data models, templates of types, `cgutils`, and passes of the compiler.
"""

import ctypes
import functools
import importlib
import os
import pickle

import llvmlite.binding as llvm
from numba.core import compiler

from .interruption import check_interruption

# {name here: (module of numba, path in it)}
PARTS = {
    "compile_for_args": ("numba.core.dispatcher", "Dispatcher._compile_for_args"),
    "is_locked": ("numba.core.compiler_lock", "global_compiler_lock.is_locked"),
    "reduce": ("numba.core.compiler", "CompileResult._reduce"),
    "rebuild": ("numba.core.compiler", "CompileResult._rebuild"),
    "dumps": ("numba.core.serialize", "dumps"),
    "make_function": ("numba._dynfunc", "make_function"),
    "library": ("numba.core.codegen", "JITCodeLibrary"),
    "optimize": ("numba.core.codegen", "JITCodeLibrary._optimize_final_module"),
    "finalize": ("numba.core.codegen", "JITCodeLibrary._finalize_final_module"),
    "finalize_globals": ("numba.core.codegen", "JITCodeLibrary._finalize_dynamic_globals"),
    "no_compile": ("numba.core.compiler", "Flags.no_compile"),
    "insert_user_function": ("numba.core.cpu", "CPUContext.insert_user_function"),
    "magic_tuple": ("numba.core.codegen", "JITCPUCodegen.magic_tuple"),
    "cpu_target": ("numba.core.registry", "cpu_target.target_context"),
}


STORING = "reduce", "rebuild", "dumps"
INNER = (
    "make_function", "library", "optimize", "finalize", "finalize_globals", "no_compile",
    "insert_user_function",
)  # fmt: skip


def _find(module, path):
    """Return the object at `path` in a module of numba, or None."""
    try:
        return functools.reduce(getattr, path.split("."), importlib.import_module(module))
    except (ImportError, AttributeError):
        return None


_parts = {name: _find(*place) for name, place in PARTS.items()}


def _has(*names):
    return all(_parts[name] is not None for name in names)


# ------------------------------------------------------------------------ when a kernel compiles


def wrap_compilation(dispatcher, wrapper):
    """Make `dispatcher` call wrapper(compile_now, *args) for types that it has no code for.

    It replaces the attribute `_compile_for_args`. Without that, a signal handler may raise in the
    compiler and leave numba's tables half filled.
    """
    if _has("compile_for_args"):
        compile_now = dispatcher._compile_for_args
        dispatcher._compile_for_args = functools.partial(wrapper, compile_now)


def holds_compiler_lock():
    """Return whether this thread may hold the compiler's lock: True if that is unknown.

    The thread that calls a kernel then compiles it, as if `wrap_compilation` did nothing.
    """
    return not _has("is_locked") or _parts["is_locked"]()


# -------------------------------------------------------------------------- code that is stored


def set_cache(dispatcher, cache):
    """Make `dispatcher` store and load its machine code with `cache`.

    It replaces the attribute `_cache`. Without that, nothing is stored, and each process compiles.
    After each compilation, failed or not, `cache.release` is called.
    """
    if not hasattr(dispatcher, "_cache"):
        return
    dispatcher._cache = cache
    compile_now = dispatcher.compile

    def compile_and_release(signature):
        try:
            return compile_now(signature)
        finally:
            cache.release()

    dispatcher.compile = compile_and_release


def pack_result(result):
    """Return the bytes of a compiled function, or None if it cannot be stored."""
    if not _has(*STORING) or result.library.has_dynamic_globals:
        return None
    return _parts["dumps"](result._reduce())


def unpack_result(context, payload):
    """Return the compiled function of bytes from `pack_result`, or None."""
    if not _has(*STORING):
        return None
    return _parts["rebuild"](context, *pickle.loads(payload))


# -------------------------------------------------------------- functions compiled for callers only


def inner_options():
    """Return options for `njit` of functions that only jitted code calls.

    LLVM then optimizes and translates such a function only once, inside a kernel. By default numba
    also makes each inner function executable. That took 7.8 seconds of CPU time for the first fit;
    with these options it takes 4.9. Without the private parts it takes 7.8 again, and Ctrl-C is
    handled after a whole kernel, not after each function.
    """
    # These two are public. Without wrappers, our types need no conversion from Python objects.
    options = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}
    return {**options, "pipeline_class": _InnerCompiler} if _has(*INNER) else options


class _InnerCompiler(compiler.CompilerBase):
    """Compiles for callers only."""

    def define_pipelines(self):
        state = self.state
        state.flags.no_compile = True
        state.library = _InnerLibrary(state.targetctx.codegen(), state.func_id.func_qualname)
        return [compiler.DefaultPassBuilder.define_nopython_pipeline(state)]

    def compile_extra(self, func):
        check_interruption()  # a safe point: to the compiler it is an error in this function
        result = super().compile_extra(func)
        # `no_compile` omits the Python function by which callers find the library.
        entry = _parts["make_function"](
            result.fndesc.lookup_module(), result.fndesc.qualname, "",
            _RAISE, result.environment, (result.library,),
        )  # fmt: skip
        result.target_context.insert_user_function(entry, result.fndesc, [result.library])
        return result._replace(entry_point=entry)


class _InnerLibrary(_parts["library"] if _has(*INNER) else object):
    """Code that is linked into other code without optimization."""

    def _optimize_final_module(self):
        pass

    def _finalize_final_module(self):
        self._finalize_dynamic_globals()
        self._finalized = True


# The machine code of the Python function: it sets an exception and returns NULL.
_RAISE = ctypes.cast(ctypes.pythonapi.PyErr_NoMemory, ctypes.c_void_p).value


# ------------------------------------------------------------- the machine that code is made for


def machine_of(codegen):
    """Return (triple, CPU, features) of a code generator.

    Without `magic_tuple` they are determined in the same way as numba does it.
    """
    if _has("magic_tuple") and codegen is not None:
        return codegen.magic_tuple()
    cpu = os.environ.get("NUMBA_CPU_NAME") or llvm.get_host_cpu_name()
    features = os.environ.get("NUMBA_CPU_FEATURES")
    if features is None:
        same = cpu == llvm.get_host_cpu_name()
        features = llvm.get_host_cpu_features().flatten() if same else ""
    return llvm.get_process_triple(), cpu, features


def current_codegen():
    """Return the code generator of kernels, or None if it is unknown; see `machine_of`."""
    return _parts["cpu_target"].codegen() if _has("cpu_target") else None
