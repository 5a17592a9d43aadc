"""FASTNN_CHECKS=1: public kernels look at their arguments before they touch memory.

For every set of types a check is written out as the source of a function, from `contracts.py`. It
raises ValueError with the name of the kernel and of the argument. Numba wants the text of an
exception as a constant, so it says what was expected, and which sizes differ, without their values.
What the types say (a dtype, the number of dimensions, the layout) is in the text.
"""

import inspect

from numba import from_dtype, types
from numba.extending import overload

from . import codes, faults, prediction_faults, records, shard_faults
from . import table as t
from .contracts import CONTRACTS, Array, Parts, Record


def checked(function, compute, flags):
    """Return a Python function for numba: it checks the arguments of `function`, then computes.

    `compute` is `function`, compiled for callers in jitted code. A kernel without a contract is
    not public: it is `function` itself.
    """
    if function.__name__ not in CONTRACTS:
        return function
    name, arguments = function.__name__, ", ".join(inspect.signature(function).parameters)

    def guard(*arguments):
        """Stand for the check of some types, and the kernel behind it."""

    @overload(guard, strict=False, jit_options=flags)
    def _guard(*kinds):
        scope = {"compute": compute}
        for module in (faults, prediction_faults, shard_faults):
            scope.update(vars(module))
        exec(source_of(name, dict(zip(arguments.split(", "), kinds, strict=True))), scope)
        return scope["check"]

    scope = {"guard": guard}
    exec(f"def {name}({arguments}):\n    return guard({arguments})", scope)
    wrapper = scope[name]
    for attribute in ("__module__", "__qualname__", "__doc__"):
        setattr(wrapper, attribute, getattr(function, attribute))
    return wrapper


# Checks of arguments that hold together by what is in them; the rest follows from the contracts.
_PLANS = {
    "convert_rows": "convert_fault(rows, source, layout, indices)",
    "embedding_backward": (
        "columns_fault(columns, inputs.shape[1], doutputs.shape[1], dweights.size)"
    ),
    "embedding_forward": (
        "columns_fault(columns, inputs.shape[1], outputs.shape[1], weights.size)"
    ),
    "optimizer_update": "optimizer_fault(states, rule, step)",
    "pack_network": "pack_fault(panels, layers, tiles, parameters)",
    "predict_few": ("few_fault(outputs, workspace, layers, extended, parameters, inputs)"),
    "predict_rows": (
        "rows_fault(outputs, workspace, panels, layers, extended, tiles, parameters, inputs, block)"
    ),
    "shard_gradients": (
        "shards_fault(memory, layers, inputs, extended, answers, indices, keys, bounds, job, "
        "gradients)"
    ),
    "train_steps": (
        "train_fault(memory, layers, inputs, extended, tiles, answers, order, keys, task)"
    ),
    "unpack_states": "unpack_fault(states, workspace, layers)",
}


# ------------------------------------------------------------------- the source of a check


def source_of(name, kinds):
    """Return the source of `check`, for arguments of numba's types `kinds`."""
    names = ", ".join(CONTRACTS[name])
    wrong = _wrong_parts(name, kinds)
    if wrong:
        return f"def check({names}):\n    {_raise(name, wrong)}"
    contract, kinds = _flat(name, kinds)
    arrays = {
        argument: spec
        for argument, spec in contract.items()
        if isinstance(spec, Array) and not _is_left_out(spec, kinds, argument)
    }
    wrong = _wrong_type(contract, arrays, kinds)
    if wrong:
        return f"def check({names}):\n    {_raise(name, wrong)}"
    lines = [
        *_unpacked(name, kinds),
        *_shapes(name, arrays, kinds),
        *_scalars(name, contract),
        *_overlaps(name, arrays),
        *_indices(name, arrays, kinds),
        *_plans(name),
        f"return compute({names})",
    ]
    return "\n    ".join([f"def check({names}):", *lines])


def _wrong_parts(name, kinds):
    """Return what is wrong about the type of a tuple, or None."""
    for argument, spec in CONTRACTS[name].items():
        if not isinstance(spec, Parts) or (spec.optional and _is_none(kinds[argument])):
            continue
        count = len(getattr(kinds[argument], "types", ()))
        least = sum(not getattr(part, "optional", False) for part in spec.parts.values())
        if not least <= count <= len(spec.parts):
            wanted = f"a tuple ({', '.join(spec.parts)})"
            return f"{argument} is {kinds[argument]}, expected {wanted}"
    return None


def _flat(name, kinds):
    """Return contract and types with the parts of a tuple, and fields of a record, for arguments.

    Fields have the types that their record has for them, and need no check of those.
    """
    contract, found = {}, dict(kinds)
    for argument, spec in CONTRACTS[name].items():
        if isinstance(spec, Parts):
            parts = found.pop(argument)
            of_parts = getattr(parts, "types", ())
            for i, (part, of_part) in enumerate(spec.parts.items()):
                found[part] = of_parts[i] if i < len(of_parts) else types.none
                own = _as_array(of_part)
                missing = _is_none(parts) or (own.optional and _is_none(found[part]))
                contract[part] = own._replace(optional=missing)
                _add_fields(contract, found, of_part)
        else:
            contract[argument] = _as_array(spec)
            _add_fields(contract, found, spec)
    return contract, found


def _add_fields(contract, kinds, spec):
    """Add the fields of a record to contract and types."""
    if isinstance(spec, Record):
        contract.update(spec.fields)
        record = from_dtype(getattr(records, spec.dtype))
        kinds.update((field, record.typeof(field)) for field in spec.fields)


def _as_array(spec):
    """Return an array of one record as the others."""
    return Array(("1",), spec.dtype) if isinstance(spec, Record) else spec


def _unpacked(name, kinds):
    """Yield the lines that give the parts of tuples their names."""
    for argument, spec in CONTRACTS[name].items():
        if isinstance(spec, Parts) and not _is_none(kinds[next(iter(spec.parts))]):
            yield from (
                f"{part} = {argument}[{i}]"
                for i, part in enumerate(spec.parts)
                if not _is_none(kinds[part])
            )


def _raise(name, words):
    return f"raise ValueError({f'{name}: {words}'!r})"


def _unless(condition, name, words):
    return f"if not ({condition}): {_raise(name, words)}"


def _is_none(kind):
    return isinstance(kind, types.NoneType) or kind == types.Omitted(None)


def _inputs_first(arrays):
    return sorted(arrays.items(), key=lambda item: item[1].written)


def _is_left_out(spec, kinds, argument):
    """Return whether no kernel looks at an array: it is None, or what reads it is not asked for."""
    unread = spec.read_for and _is_none(kinds[spec.read_for])
    return unread or (spec.optional and _is_none(kinds[argument]))


def _wrong_type(contract, arrays, kinds):
    """Return what is wrong about the type of an argument, or None."""
    floats = [
        (argument, kinds[argument].dtype)
        for argument, spec in _inputs_first(arrays)
        if spec.dtype == "float" and isinstance(kinds[argument], types.Array)
    ]
    like = floats[0] if floats else (None, None)
    for argument, spec in contract.items():
        kind = kinds[argument]
        if argument in arrays:
            wanted = _wanted_array(spec, kind, kinds, *like)
        elif isinstance(spec, Array):
            continue
        elif spec.record and _is_array_of(kind, spec.record):
            continue
        elif isinstance(types.unliteral(kind), types.Integer | types.Boolean):
            continue
        elif spec.optional and _is_none(kind):
            continue
        else:
            whole = "a whole number" if spec.whole else "a number"
            wanted = None if not spec.whole and isinstance(kind, types.Float) else whole
        if wanted:
            return f"{argument} is {kind}, expected {wanted}"
    return None


def _is_array_of(kind, record):
    """Return whether a type is that of a C-contiguous array (N,) of records."""
    if not isinstance(kind, types.Array) or (kind.ndim, kind.layout) != (1, "C"):
        return False
    return kind.dtype == from_dtype(getattr(records, record))


def _wanted_array(spec, kind, kinds, first, dtype):
    """Return what was expected of an array, or None where its type is right.

    `dtype` is the one of the call, that of its first array of floats.
    """
    n_dims = [kind.ndim] if spec.shapes == ("...",) and hasattr(kind, "ndim") else None
    n_dims = n_dims or [len(shape.split()) for shape in spec.shapes]
    shapes = " or ".join("(" + shape.replace(" ", ", ") + ")" for shape in spec.shapes)
    if not isinstance(kind, types.Array) or kind.layout != "C" or not kind.aligned:
        return f"a C-contiguous array {shapes}"
    if kind.ndim not in n_dims:
        return f"an array {shapes}"
    if spec.written and not kind.mutable:
        return "an array that may be written"
    if spec.dtype == "samples" and (kind.ndim == 2) != _is_none(kinds["layout"]):
        return "(N, I) where layout is None, else bytes"
    right = {
        "float": (dtype,),
        "floats": (types.float32, types.float64),
        "targets": (types.int64 if kind.ndim == 1 else dtype,),
        "samples": (types.uint8 if kind.ndim == 1 else dtype,),
    }.get(spec.dtype)
    record = getattr(records, spec.dtype, None)
    if right is None:
        right = (getattr(types, spec.dtype) if record is None else from_dtype(record),)
    if kind.dtype not in right:
        if record is not None:
            return f"{spec.dtype}, see fastnn.kernels.records"
        words = " or ".join(map(str, right))
        shared = kind.dtype in (types.float32, types.float64) and spec.dtype == "float"
        return f"{words}, as {first}" if shared else words
    if dtype not in (None, types.float32, types.float64):
        return "float32 or float64"
    return None


def _scalars(name, contract):
    """Yield the lines that read fields of records, and checks of all numbers."""
    for argument, spec in CONTRACTS[name].items():
        parts = spec.parts if isinstance(spec, Parts) else {argument: spec}
        for part, of_part in parts.items():
            if isinstance(of_part, Record):
                yield from (f"{field} = {part}[0].{field}" for field in of_part.fields)
    for argument, spec in contract.items():
        if not isinstance(spec, Array) and spec.bounds:
            bounds = spec.bounds.format(argument)
            yield _unless(bounds, name, f"{argument} is out of range, expected {bounds}")


def _shape_of(spec, kind):
    """Return the sizes of the shape that an array of this type should have."""
    shapes = [shape.split() for shape in spec.shapes]
    return next((shape for shape in shapes if len(shape) == kind.ndim), None)


def _shapes(name, arrays, kinds):
    """Yield checks of shapes; a size is that of the first argument that has it, inputs first."""
    known = {}  # {size: (expression, words)}
    for argument, spec in _inputs_first(arrays):
        kind = kinds[argument]
        if spec.shapes == ("...",):
            first, n_dims = known.setdefault("...", (argument, kind.ndim))
            same = [f"{argument}.shape[{axis}] == {first}.shape[{axis}]" for axis in range(n_dims)]
            condition = " and ".join(same or ["True"]) if kind.ndim == n_dims else "False"
            yield _unless(condition, name, f"{argument} has another shape than {first}")
            continue
        sizes = _shape_of(spec, kind)
        text = ", ".join(sizes) + "," * (len(sizes) == 1)
        for axis, size in enumerate(sizes):
            here = f"{argument}.shape[{axis}]"
            if size.isdigit():
                value, words = size, size
            elif size.isupper() and len(size) > 1:
                place = codes if hasattr(codes, size) else t
                module = place.__name__.rpartition(".")[2]
                value, words = str(getattr(place, size)), f"{module}.{size}"
            elif size in known:
                value, words = known[size]
            else:
                known[size] = here, here
                if size == "C":
                    yield _unless(f"{here} > 0", name, f"{argument} has no columns, expected some")
                continue
            expected = f"{argument} is not ({text}): {here} is not {words}"
            yield _unless(f"{here} == {value}", name, expected)


def _overlaps(name, arrays):
    """Yield checks that what is written shares no memory with other arguments."""
    for i, (argument, spec) in enumerate(arrays.items()):
        for j, (other, beside) in enumerate(arrays.items()):
            if not spec.written or other == argument or (beside.written and j < i):
                continue
            words = f"{argument} shares memory with {other}"
            if other in spec.may_be:
                words += ", and does not start where it does"
                yield _unless(f"is_same_or_apart({argument}, {other})", name, words)
            else:
                yield _unless(f"is_apart({argument}, {other})", name, words)


def _indices(name, arrays, kinds):
    """Yield checks of labels and of indices of rows."""
    for argument, spec in arrays.items():
        if spec.dtype == "targets" and kinds[argument].ndim == 1:
            like = next(a for a, s in arrays.items() if s.shapes == ("B C",) and not s.written)
            words = f"{argument} has a label outside of [0, C), with C = {like}.shape[1]"
            yield _unless(f"is_below({argument}, {like}.shape[1])", name, words)
        if spec.below:
            like = next(a for a, s in arrays.items() if s.shapes[0].split()[0] == spec.below)
            words = f"{argument} has an index outside of [0, {spec.below}), the rows of {like}"
            yield _unless(f"is_below({argument}, {like}.shape[0])", name, words)


def _plans(name):
    """Yield the check of arguments that hold together by what is in them."""
    if name in _PLANS:
        yield f"fault = {_PLANS[name]}"
        for code, words in enumerate(faults.FAULTS):
            if code:
                yield _unless(f"fault != {code}", name, words)
