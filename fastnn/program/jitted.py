"""Support for `CompiledModel` in jitted code: its numba type, value and methods.

The value is the address of the handle's header, and a reference to the handle that numba counts. So
a typed list, a jitclass or a generator with the value keeps the handle alive.
"""

from contextlib import ExitStack
from functools import cache

import numpy as np
from numba import carray, from_dtype, njit, types
from numba.core import cgutils
from numba.core.errors import TypingError
from numba.core.imputils import lower_constant
from numba.extending import (
    NativeValue,
    box,
    intrinsic,
    models,
    overload_method,
    register_model,
    typeof_impl,
    unbox,
)

from .. import kernels
from ..kernels import jit
from ..kernels.catalogue import Operation
from ..kernels.codes import HeaderPlace
from ..kernels.pointers import is_null
from ..kernels.records import COLUMN, LAYER
from ..kernels.target import BLOCK_ROWS, CACHE_LINE, FEW_ROWS
from .handle import CompiledModel

_UNSET = "the handle was never assigned, expected one that model.compiled() has returned"

# Leaves the outputs unchanged.
_NO_FINISH = Operation.IDENTITY

# Handles whose addresses are in machine code. They must live as long as the code.
_constants = []


class CompiledModelType(types.Type):
    """The type of handles of one dtype and one kind of prediction."""

    def __init__(self, dtype, task, finish, threshold, single, reduced, embedded):
        self.dtype, self.task, self.finish = dtype, task, finish
        self.threshold, self.single = threshold, single
        self.run = _RUNS[reduced, embedded]
        # The digest is included because the kernels are compiled into a user's function: code that
        # numba has cached on disk must not run with the data structures of another version.
        key = dtype, task, finish, threshold, single, reduced, embedded, jit.SOURCE_DIGEST
        super().__init__(f"fastnn.CompiledModel{key}")


@cache
def _type_of_kind(dtype, *kind):
    return CompiledModelType(from_dtype(dtype), *kind)


@typeof_impl.register(CompiledModel)
def _type_of_handle(handle, context):
    return _type_of_kind(*handle._kind)


@register_model(CompiledModelType)
class _HandleModel(models.StructModel):
    def __init__(self, manager, kind):
        members = [
            ("owner", types.MemInfoPointer(types.voidptr)),  # null for a global variable
            ("header", types.CPointer(types.int64)),
            ("handle", types.pyobject),  # what `owner` keeps alive
        ]
        super().__init__(manager, kind, members)


@unbox(CompiledModelType)
def _unbox_handle(kind, handle, c):
    value = cgutils.create_struct_proxy(kind)(c.context, c.builder)
    failed = cgutils.alloca_once_value(c.builder, cgutils.true_bit)
    with ExitStack() as stack:
        header = c.pyapi.object_getattr_string(handle, "_header")
        cgutils.early_exit_if_null(c.builder, stack, header)
        address = c.pyapi.bytes_as_string(header)
        c.pyapi.decref(header)  # the handle keeps a reference
        cgutils.early_exit_if_null(c.builder, stack, address)
        owner = c.pyapi.nrt_meminfo_new_from_pyobject(address, handle)
        cgutils.early_exit_if_null(c.builder, stack, owner)
        value.owner, value.handle = owner, handle
        value.header = c.builder.bitcast(address, value.header.type)
        c.builder.store(cgutils.false_bit, failed)
    return NativeValue(value._getvalue(), is_error=c.builder.load(failed))


@box(CompiledModelType)
def _box_handle(kind, value, c):
    handle = cgutils.create_struct_proxy(kind)(c.context, c.builder, value).handle
    # Null in a variable that jitted code has never assigned: numba fills those with zeros.
    with c.builder.if_else(cgutils.is_null(c.builder, handle), likely=False) as (unset, there):
        with unset:
            c.pyapi.err_set_string("PyExc_ValueError", _UNSET)
        with there:
            c.pyapi.incref(handle)
            c.context.nrt.decref(c.builder, kind, value)
    return handle


@lower_constant(CompiledModelType)
def _lower_global_handle(context, builder, kind, handle):
    _constants.append(handle)
    value = cgutils.create_struct_proxy(kind)(context, builder)
    header = np.frombuffer(handle._header, np.int64).__array_interface__["data"][0]
    # `add_dynamic_addr` marks the code as not cacheable: the addresses belong to this process.
    for name, address in (("header", header), ("handle", id(handle))):
        pointer = context.add_dynamic_addr(builder, address, info=f"fastnn.CompiledModel.{name}")
        setattr(value, name, builder.bitcast(pointer, getattr(value, name).type))
    value.owner = cgutils.get_null_value(value.owner.type)
    return value._getvalue()


@intrinsic
def _header(typingctx, handle):
    """Return the pointer to the header of a `CompiledModel`."""

    def codegen(context, builder, sig, args):
        return cgutils.create_struct_proxy(handle)(context, builder, args[0]).header

    return types.CPointer(types.int64)(handle), codegen


@intrinsic
def _pointer(typingctx, address, dtype):
    """Return `address` as a pointer to numbers of `dtype`."""

    def codegen(context, builder, sig, args):
        return builder.inttoptr(args[0], context.get_value_type(sig.return_type))

    return types.CPointer(dtype.dtype)(address, dtype), codegen


@intrinsic
def _elements(typingctx, array):
    """Return the pointer to the first element of a C-contiguous array, as `carray` takes it."""

    def codegen(context, builder, sig, args):
        return context.make_array(array)(context, builder, args[0]).data

    return types.CPointer(array.dtype)(array), codegen


@njit(nogil=True)
def _no_columns(header):
    """Return what kernels get as `extended` of a network without an Embedding."""
    return True


@njit(nogil=True)
def _columns(header):
    """Return what kernels get as `extended` of a network with an Embedding: its columns."""
    return carray(_pointer(header[HeaderPlace.COLUMNS], COLUMN), header[HeaderPlace.COLUMNS_SIZE])


def _make_run(find_columns, refused):
    """Return the function that runs rows through the network of a header."""

    @njit(nogil=True)
    def run(header, rows, finish):
        if is_null(header):
            raise ValueError(_UNSET)
        parameters = carray(
            _pointer(header[HeaderPlace.PARAMETERS], rows.dtype),
            header[HeaderPlace.PARAMETERS_SIZE],
        )
        layers = carray(
            _pointer(header[HeaderPlace.LAYERS], LAYER), header[HeaderPlace.LAYERS_SIZE]
        )
        if rows.shape[1] != header[HeaderPlace.N_INPUTS]:
            raise ValueError("x has another number of features than the network has inputs")
        outputs = np.empty((len(rows), header[HeaderPlace.N_OUTPUTS]), rows.dtype)
        if len(rows) <= FEW_ROWS:
            workspace = np.empty(header[HeaderPlace.FEW_SIZE], rows.dtype)
            n_predicted = kernels.predict_few(
                outputs, workspace, layers, find_columns(header), parameters, rows, finish
            )
        else:
            workspace = np.empty(header[HeaderPlace.MANY_SIZE], rows.dtype)
            panels = carray(
                _pointer(header[HeaderPlace.PANELS], rows.dtype), header[HeaderPlace.PANELS_SIZE]
            )
            n_predicted = kernels.predict_rows(
                outputs,
                workspace,
                panels,
                layers,
                find_columns(header),
                None,
                parameters,
                rows,
                BLOCK_ROWS,
                finish,
            )
        if n_predicted != len(rows):
            raise ValueError(refused)
        return outputs

    return run


def _make_reduced_run(find_columns, refused):
    """As `_make_run`, where products have operands in bfloat16."""

    @njit(nogil=True)
    def run(header, rows, finish):
        if is_null(header):
            raise ValueError(_UNSET)
        if rows.shape[1] != header[HeaderPlace.N_INPUTS]:
            raise ValueError("x has another number of features than the network has inputs")
        parameters = carray(
            _pointer(header[HeaderPlace.PARAMETERS], rows.dtype),
            header[HeaderPlace.PARAMETERS_SIZE],
        )
        layers = carray(
            _pointer(header[HeaderPlace.LAYERS], LAYER), header[HeaderPlace.LAYERS_SIZE]
        )
        panels = carray(
            _pointer(header[HeaderPlace.PANELS], rows.dtype), header[HeaderPlace.PANELS_SIZE]
        )
        tile = np.dtype(np.uint16)
        weights = carray(_pointer(header[HeaderPlace.TILES], tile), header[HeaderPlace.TILES_SIZE])
        outputs = np.empty((len(rows), header[HeaderPlace.N_OUTPUTS]), rows.dtype)
        workspace = np.empty(header[HeaderPlace.MANY_SIZE], rows.dtype)
        # Tiles lie on lines of the cache.
        line = CACHE_LINE // 2
        memory = np.empty(header[HeaderPlace.OPERANDS_SIZE] + line, np.uint16)
        start = -(memory.ctypes.data // 2) % line
        operands = memory[start : start + header[HeaderPlace.OPERANDS_SIZE]]
        n_predicted = kernels.predict_rows(
            outputs, workspace, panels, layers, find_columns(header), (weights, operands),
            parameters, rows, BLOCK_ROWS, finish,
        )  # fmt: skip
        if n_predicted != len(rows):
            raise ValueError(refused)
        return outputs

    return run


# {(whether products have operands in bfloat16, whether there is an Embedding): how rows run}
_RUNS = {
    (reduced, embedded): make(
        _columns if embedded else _no_columns,
        "x is not finite, or has a number that is no code in a column of codes"
        if embedded
        else "x is not finite",
    )
    for reduced, make in ((False, _make_run), (True, _make_reduced_run))
    for embedded in (False, True)
}


@njit(nogil=True)
def _largest(outputs):
    labels = np.empty(len(outputs), np.int64)
    for i in range(len(outputs)):
        labels[i] = outputs[i].argmax()
    return labels


def _check_type(handle, x):
    right = isinstance(x, types.Array) and x.dtype == handle.dtype and x.layout == "C"
    if not (right and x.ndim in (1, 2)):
        raise TypingError(f"x is {x}, expected a C-contiguous array of {handle.dtype}, 1-D or 2-D")


def _for_rows(decide, n_dims):
    """Return the method that applies `decide` to the rows of `x`, or to `x` as the only row."""
    # Pointers are passed on instead of the handle and a view of `x`: the caller keeps both alive,
    # and counting references would take 5 % of the time of a row.
    if n_dims == 2:
        return lambda handle, x: decide(_header(handle), x)
    return lambda handle, x: decide(_header(handle), carray(_elements(x), (1, x.size)))[0]


@overload_method(CompiledModelType, "predict_proba")
def _predict_proba(handle, x):
    _check_type(handle, x)
    if handle.task == "numbers":
        raise TypingError("the model predicts numbers, which have no probabilities: use predict")
    finish, run = handle.finish, handle.run
    return _for_rows(njit(lambda header, rows: run(header, rows, finish)), x.ndim)


@overload_method(CompiledModelType, "predict")
def _predict(handle, x):
    _check_type(handle, x)
    threshold, single, finish = handle.threshold, handle.single, handle.finish
    run = handle.run
    if handle.task == "classes":
        decide = njit(lambda header, rows: _largest(run(header, rows, _NO_FINISH)))
    elif handle.task == "answers" and single:
        decide = njit(
            lambda header, rows: (run(header, rows, _NO_FINISH)[:, 0] > threshold).astype(np.int64)
        )
    elif handle.task == "answers":
        decide = njit(
            lambda header, rows: (run(header, rows, _NO_FINISH) > threshold).astype(np.int64)
        )
    elif single:
        decide = njit(lambda header, rows: run(header, rows, finish)[:, 0])
    else:
        decide = njit(lambda header, rows: run(header, rows, finish))
    return _for_rows(decide, x.ndim)
