"""What numba has to know to take a `CompiledModel` into jitted code: its type, value and methods.

The value is the address of the handle's header, so that an argument costs as little as a number.
"""

import numpy as np
from llvmlite import ir
from numba import carray, from_dtype, njit, types
from numba.core.errors import TypingError
from numba.core.imputils import lower_constant
from numba.extending import (
    NativeValue,
    intrinsic,
    models,
    overload_method,
    register_model,
    typeof_impl,
    unbox,
)

from . import kernels
from .compiled import CompiledModel
from .kernels.table import IDENTITY, N_COEFFICIENTS, N_COLUMNS
from .prediction import BLOCK_ROWS, FEW_ROWS

# Handles whose address is part of machine code: they live as long as the code may.
_constants = []


class CompiledModelType(types.Type):
    """The type of handles of one dtype and one kind of answers."""

    def __init__(self, dtype, task, finish, threshold, single):
        self.dtype, self.task, self.finish = dtype, task, finish
        self.threshold, self.single = threshold, single
        super().__init__(f"fastnn.CompiledModel{dtype, task, finish, threshold, single}")


@typeof_impl.register(CompiledModel)
def _type_of_handle(handle, context):
    loss = handle.loss
    return CompiledModelType(
        from_dtype(handle.dtype), loss.task, loss.finish, loss.threshold, handle.n_outputs == 1
    )


@register_model(CompiledModelType)
class _HandleModel(models.PrimitiveModel):
    def __init__(self, manager, kind):
        super().__init__(manager, kind, ir.IntType(64))


@unbox(CompiledModelType)
def _unbox_handle(kind, handle, c):
    # The caller's argument keeps the handle alive; jitted code cannot give it back.
    address = c.pyapi.object_getattr_string(handle, "_address")
    value = c.pyapi.number_as_ssize_t(address)
    c.pyapi.decref(address)
    return NativeValue(value, is_error=c.pyapi.c_api_error())


@lower_constant(CompiledModelType)
def _lower_global_handle(context, builder, kind, handle):
    _constants.append(handle)
    # Machine code with an address in it is of no use to another process.
    pointer = context.add_dynamic_addr(builder, handle._address, info="fastnn.CompiledModel")
    return builder.ptrtoint(pointer, ir.IntType(64))


@intrinsic
def _pointer(typingctx, address, dtype):
    """Return `address`, a number or a handle, as a pointer to numbers of `dtype`."""

    def codegen(context, builder, sig, args):
        return builder.inttoptr(args[0], context.get_value_type(sig.return_type))

    return types.CPointer(dtype.dtype)(address, dtype), codegen


@njit(nogil=True)
def _run(handle, rows, finish):
    header = _pointer(handle, np.int64)
    parameters = carray(_pointer(header[0], rows.dtype), header[4])
    table = carray(_pointer(header[2], np.int64), (header[6] // N_COLUMNS, N_COLUMNS))
    coefficients = carray(_pointer(header[3], np.float64), (len(table), N_COEFFICIENTS))
    if rows.shape[1] != header[8]:
        raise ValueError("x has another number of features than the network has inputs")
    outputs = np.empty((len(rows), header[9]), rows.dtype)
    if len(rows) <= FEW_ROWS:
        workspace = np.empty(header[10], rows.dtype)
        done = kernels.predict_few(
            outputs, workspace, table, coefficients, parameters, rows, finish
        )
    else:
        workspace = np.empty(header[11], rows.dtype)
        panels = carray(_pointer(header[1], rows.dtype), header[5])
        done = kernels.predict_rows(
            outputs, workspace, panels, table, coefficients, parameters, rows, BLOCK_ROWS, finish
        )
    if done != len(rows):
        raise ValueError("x is not finite")
    return outputs


@njit(nogil=True)
def _largest(outputs):
    found = np.empty(len(outputs), np.int64)
    for i in range(len(outputs)):
        found[i] = outputs[i].argmax()
    return found


def _check_type(handle, x):
    right = isinstance(x, types.Array) and x.dtype == handle.dtype and x.layout == "C"
    if not (right and x.ndim in (1, 2)):
        raise TypingError(f"x is {x}, expected a C-contiguous array of {handle.dtype}, 1-D or 2-D")


def _for_rows(decide, n_dims):
    """Return the method that applies `decide` to the rows of `x`, or to `x` as the only row."""
    if n_dims == 2:
        return lambda handle, x: decide(handle, x)
    return lambda handle, x: decide(handle, x.reshape(1, -1))[0]


@overload_method(CompiledModelType, "predict_proba")
def _predict_proba(handle, x):
    _check_type(handle, x)
    if handle.task == "numbers":
        raise TypingError("the model predicts numbers, which have no probabilities: use predict")
    finish = handle.finish
    return _for_rows(njit(lambda handle, rows: _run(handle, rows, finish)), x.ndim)


@overload_method(CompiledModelType, "predict")
def _predict(handle, x):
    _check_type(handle, x)
    threshold, single, finish = handle.threshold, handle.single, handle.finish
    if handle.task == "classes":
        decide = njit(lambda handle, rows: _largest(_run(handle, rows, IDENTITY)))
    elif handle.task == "answers" and single:
        decide = njit(
            lambda handle, rows: (_run(handle, rows, IDENTITY)[:, 0] > threshold).astype(np.int64)
        )
    elif handle.task == "answers":
        decide = njit(
            lambda handle, rows: (_run(handle, rows, IDENTITY) > threshold).astype(np.int64)
        )
    elif single:
        decide = njit(lambda handle, rows: _run(handle, rows, finish)[:, 0])
    else:
        decide = njit(lambda handle, rows: _run(handle, rows, finish))
    return _for_rows(decide, x.ndim)
