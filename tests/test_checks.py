"""FASTNN_CHECKS=1: public kernels refuse what they would read or write foreign memory for."""

import copy
import hashlib
import inspect
import itertools
import json
import os
import re

import numba
import numpy as np
import pytest
from child import run_python
from kernel_cases import KERNELS, find_oracle
from numba.core.caching import NullCache

import fastnn
from fastnn import kernels
from fastnn.distributed import one
from fastnn.kernels import checks, jit
from fastnn.kernels.contracts import CONTRACTS, Array, Number, Parts, Record
from fastnn.memory import aligned_empty

# What a call of the wrong shape looks like is written here by hand, not taken from the contracts.
SHAPES = {1: (5,), 2: (5, 7), 3: (5, 7, 3)}

# Axes that may be longer or shorter: what an index takes some of, and more states than asked for.
FREE = {
    ("gather_rows", "source", 0),
    ("convert_rows", "source", 0),
    ("convert_rows", "rows", 1),
    ("optimizer_update", "states", 0),
    ("cross_entropy_forward", "probabilities", 1),
    ("all_finite", "values", 0),
    ("all_finite", "values", 1),
}

# Of which float32 and float64 are both right; for labels in the third.
ONE_ARRAY_OF_FLOATS = ("all_finite", "convert_rows", "cross_entropy_forward")

# Of the kernels of whole networks: the axes of which any other size is wrong, or a smaller one.
ANY, LESS = (-1, 1, 3), (-1,)
NETWORK_SIZES = {
    "pack_network": {
        ("panels", 0): LESS, ("parameters", 0): LESS,
    },
    "unpack_states": {
        ("states", 1): LESS, ("workspace", 0): LESS,
    },
    "predict_few": {
        ("outputs", 0): ANY, ("outputs", 1): ANY, ("workspace", 0): LESS, ("layers", 0): ANY,
        ("parameters", 0): LESS, ("inputs", 0): ANY, ("inputs", 1): ANY,
    },
    "predict_rows": {
        ("outputs", 0): ANY, ("outputs", 1): ANY, ("workspace", 0): LESS, ("panels", 0): LESS,
        ("layers", 0): ANY, ("parameters", 0): LESS, ("inputs", 0): ANY, ("inputs", 1): ANY,
    },
    # It may not take the last sample: of samples and labels there are too few for any.
    "shard_gradients": {
        ("parameters", 0): ANY, ("workspace", 0): LESS, ("scores", 0): ANY, ("scores", 1): LESS,
        ("barrier", 0): ANY, ("layers", 0): ANY, ("inputs", 0): (-799,), ("layout", 0): ANY,
        ("labels", 0): (-39,), ("targets", 0): (1, 3), ("sample_weights", 0): (1, 3),
        ("indices", 0): ANY, ("keys", 0): ANY, ("keys", 1): ANY, ("bounds", 0): ANY,
        ("job", 0): ANY, ("gradients", 0): ANY, ("gradients", 1): ANY,
    },
    "train_steps": {
        ("parameters", 0): LESS, ("states", 0): LESS, ("states", 1): LESS, ("workspace", 0): LESS,
        ("scores", 0): ANY, ("scores", 1): LESS, ("sums", 0): ANY, ("sums", 1): (1, 3),
        ("barrier", 0): ANY, ("layers", 0): ANY, ("inputs", 0): LESS, ("layout", 0): ANY,
        ("labels", 0): LESS, ("targets", 0): (1, 3), ("sample_weights", 0): (1, 3),
        ("order", 0): ANY, ("keys", 0): ANY, ("keys", 1): ANY, ("job", 0): ANY,
        ("steps", 0): LESS, ("totals", 0): ANY, ("totals", 1): ANY,
    },
}  # fmt: skip

# One line of the workspace is padding at most, so that a smaller one lacks more than that.
CUT = {"workspace", "panels"}


# ---------------------------------------------------------------------------- right calls


def network_calls(layers=None, precision="highest"):
    """Return {name: arguments} of right calls of the kernels of whole networks."""
    found, originals = {}, {name: getattr(kernels, name) for name in NETWORK_SIZES}

    def keeper(name):
        def keep(*arguments):
            found.setdefault(name, copied(arguments))
            return originals[name](*arguments)

        return keep

    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((40, 5)).astype(np.float32), rng.integers(0, 3, 40)
    layers = layers or [
        fastnn.Dense(5, 9, rng=0), fastnn.Tanh(), fastnn.BatchNorm(9), fastnn.Dropout(0.2),
        fastnn.Dense(9, 3, rng=1),
    ]  # fmt: skip
    try:
        for name in NETWORK_SIZES:
            setattr(kernels, name, keeper(name))
        model = fastnn.Sequential(layers)
        adam = fastnn.Adam(0.01)
        with fastnn.precision(precision):
            model.fit(X, y, epochs=2, batch_size=16, seed=0, optimizer=adam, threads=1, verbose=0)
            model.predict(X)
            model.predict(X[:2])
        if precision == "highest":
            others = [layer for layer in layers if not isinstance(layer, fastnn.BatchNorm)]
            model = fastnn.Sequential(copy.deepcopy(others))
            model.fit(X, y, batch_size=16, seed=0, ranks=one(2), threads=1, verbose=0)
    finally:
        for name, original in originals.items():
            setattr(kernels, name, original)
    return found


def plain_calls():
    """Yield (case, arguments) of right calls of the kernels on arrays."""
    for case, spec in KERNELS.items():
        rng = np.random.default_rng(0)
        outputs, inputs = spec.make_arguments(rng, SHAPES[len(spec.dimensions)], np.float32)
        yield case, [*outputs, *inputs]


def copied(arguments):
    copies = {tuple: lambda parts: tuple(copied(parts)), np.ndarray: copy_aligned}
    return [copies.get(type(value), lambda same: same)(value) for value in arguments]


def copy_aligned(array):
    """Return a copy that begins at a line of the cache, as packed operands have to."""
    copy = aligned_empty(array.size, array.dtype).reshape(array.shape)
    copy[...] = array
    return copy


def places_of(name, arguments):
    """Yield (place, argument, its contract, its value), of the parts of a tuple too."""
    for i, (argument, spec) in enumerate(CONTRACTS[name].items()):
        yield (i,), argument, spec, arguments[i]
        if isinstance(spec, Parts) and arguments[i] is not None:
            # Optional parts at the end may be missing.
            for j, (part, of_part) in enumerate([*spec.parts.items()][: len(arguments[i])]):
                yield (i, j), part, of_part, arguments[i][j]


def replaced(arguments, place, value):
    """Return the arguments with another value at a place of `places_of`."""
    first, *rest = place
    value = tuple(replaced(arguments[first], rest, value)) if rest else value
    return [*arguments[:first], value, *arguments[first + 1 :]]


def digest(arguments):
    arrays = [value.tobytes() for value in arguments if isinstance(value, np.ndarray)]
    return hashlib.sha256(b"".join(arrays)).hexdigest()


def digests():
    """Return {case: digest of all arrays after a right call}."""
    found = {}
    for case, arguments in plain_calls():
        KERNELS[case].kernel(*arguments)
        found[case] = digest(arguments)
    return found


def library_digest():
    """Return a digest of what layers, losses, optimizers, handles and streams give."""
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((50, 5)).astype(np.float32), rng.integers(0, 3, 50)
    quick = dict(epochs=2, batch_size=16, seed=0, verbose=False)
    found = []

    def layers(*more):
        return [fastnn.Dense(5, 9, rng=0), *more, fastnn.Dense(9, 3, rng=1)]

    def keep(model, X=X, **settings):
        found.append(model.parameters)
        found.extend([model.predict_proba(X, **settings), model.predict_proba(X[:3], **settings)])

    model = fastnn.Sequential(layers(fastnn.ReLU()))
    model.fit(X, y, **quick, threads=2)
    keep(model)
    model = fastnn.Sequential(layers(fastnn.LayerNorm(9), fastnn.GELU(), fastnn.Dropout(0.1)))
    model.fit(X, y, **quick, optimizer=fastnn.Adam(0.01, clip_norm=0.5), sample_weight=y + 0.5)
    keep(model)
    penalized = fastnn.Dense(9, 3, rng=1, weights_l2=0.01, biases_l1=0.01)
    model = fastnn.Sequential([*layers(fastnn.BatchNorm(9), fastnn.Sigmoid())[:-1], penalized])
    bytes_ = rng.integers(0, 256, X.shape).astype(np.uint8)
    model.fit(bytes_, y, **quick, optimizer=fastnn.SGD(0.1, momentum=0.9), scale=1 / 255)
    keep(model, bytes_, scale=1 / 255)
    model = fastnn.Sequential(layers(fastnn.Residual([fastnn.ELU()])), loss=fastnn.Huber())
    wide = fastnn.Sequential([fastnn.Dense(5, 40, rng=0), fastnn.Dense(40, 9, rng=1)])
    wide.fit(X, y, **quick, precision="medium", threads=2)
    found += [wide.parameters, wide.predict_proba(X, precision="medium")]
    targets = rng.standard_normal((50, 3)).astype(np.float32)
    model.fit(X, targets, **quick, validation_split=0.2)
    found += [model.parameters, model.predict(X), model.compiled().predict(X[0])]
    coded = np.column_stack([X, y]).astype(np.float32)
    embedding = fastnn.Embedding(6, {5: (3, 4)}, rng=0, weights_l2=0.01)
    model = fastnn.Sequential([embedding, fastnn.Dense(9, 9, rng=0), *layers()[1:]])
    model.fit(coded, y, **quick, optimizer=fastnn.Adam(0.01, clip_norm=0.5), threads=2)
    keep(model, coded)
    found.append(model.compiled().predict_proba(coded[0]))
    hidden, output = layers()
    relu, head = fastnn.ReLU(), fastnn.SoftmaxCrossEntropy()
    head.forward(output.forward(relu.forward(hidden.forward(X))), y)
    hidden.backward(relu.backward(output.backward(head.backward(head.output, y))))
    found += [hidden.dweights, hidden.dbiases, output.dweights]
    return digest(found)


# --------------------------------------------------------------------------- in the child


def resized(value, axis, change):
    """Return an array that is longer or shorter along an axis; what is new repeats the rest."""
    places = np.arange(max(value.shape[axis] + change, 0)) % max(value.shape[axis], 1)
    if value.shape[axis] == 0:
        return np.zeros([s + change * (a == axis) for a, s in enumerate(value.shape)], value.dtype)
    return np.ascontiguousarray(np.take(value, places, axis))


def wrong_sizes():
    """Yield (case, kernel, argument, right arguments, its place, wrong array)."""
    for case, arguments in plain_calls():
        name = KERNELS[case].kernel.__name__
        if any(value is None for value in arguments):
            continue  # what belongs to an output that is not asked for is not read
        for place, argument, _, value in places_of(name, arguments):
            if not isinstance(value, np.ndarray):
                continue
            for axis in range(value.ndim):
                if (name, argument, axis) not in FREE:
                    for change in ANY:
                        yield case, name, argument, arguments, place, resized(value, axis, change)
    for name, arguments in network_calls().items():
        places = {argument: (place, v) for place, argument, _, v in places_of(name, arguments)}
        for (argument, axis), changes in NETWORK_SIZES[name].items():
            place, value = places[argument]
            for change in changes:
                by = -(value.size // 2) if argument in CUT else change
                yield name, name, argument, arguments, place, resized(value, axis, by)


def show(found):
    print(json.dumps(found))


def refusal(name, argument, arguments):
    """Return None where a call is refused as it has to be, else what happened."""
    try:
        getattr(kernels, name)(*arguments)
    except ValueError as error:
        text = str(error)
        return None if text.startswith(f"{name}: ") else text
    except BaseException as error:
        return f"{type(error).__name__}: {error}"
    return f"no error of {argument}"


def fuzz(count):
    """Call kernels with an array of a wrong size; print what passed, and of how many."""
    calls, rng = list(wrong_sizes()), np.random.default_rng(0)
    passed = []
    for call in rng.permutation(len(calls))[:count]:
        case, name, argument, arguments, place, wrong = calls[call]
        found = refusal(name, argument, replaced(copied(arguments), place, wrong))
        if found:
            passed.append([case, argument, wrong.shape, found])
    show([passed, len(calls)])


def of_wrong_types():
    """Yield (kernel, argument, the wrong value, arguments) with one of a wrong type."""
    calls = {}
    for case, arguments in plain_calls():
        calls.setdefault(KERNELS[case].kernel.__name__, arguments)
    for name, arguments in {**calls, **network_calls()}.items():
        for place, argument, spec, value in places_of(name, arguments):
            if isinstance(spec, Number):
                wrong = ["word", 0.5 if spec.whole else np.ones(1)]
            elif isinstance(spec, Parts) and value is None:
                wrong = [1.5, (np.zeros(3),)]
            elif isinstance(spec, Parts):
                wrong = [value[:-1], (*value, value[0]), value[0], 1.5]
                wrong += [] if spec.optional else [None]
            else:
                spec = Array(("1",), spec.dtype) if isinstance(spec, Record) else spec
                shape, dtype = np.shape(value), getattr(value, "dtype", np.float64)
                other = np.float32 if dtype != np.float32 else np.float64
                wrong = [[1.0], np.zeros(shape, np.int16), np.ones((3, 4), dtype).T]
                if not spec.optional and name != "all_finite":
                    wrong += [None, np.zeros((1, 1, *shape), dtype)]
                if spec.dtype != "floats" and name not in ONE_ARRAY_OF_FLOATS:
                    wrong.append(np.zeros(shape, other))
                if spec.written:
                    wrong.append(np.zeros(shape, dtype))
                    wrong[-1].flags.writeable = False
            for bad in wrong:
                yield name, argument, bad, replaced(arguments, place, bad)


def wrong_types(count):
    """Call kernels with an argument of a wrong type; print what passed, and of how many."""
    calls, passed = list(of_wrong_types()), []
    for place in np.random.default_rng(0).permutation(len(calls))[:count]:
        name, argument, bad, arguments = calls[place]
        if found := refusal(name, argument, arguments):
            passed.append([name, argument, repr(bad), found])
    show([passed, len(calls)])


def wrong_tiles():
    """Call kernels with packed operands that are too few or begin elsewhere; print what passed."""
    passed, count, widths = [], 0, (5, 40, 40, 9, 3)
    layers = [fastnn.Dense(*pair, rng=0) for pair in itertools.pairwise(widths)]
    for name, arguments in network_calls(layers, "high").items():
        if name == "unpack_states":  # it asks only whether there are any
            continue
        for place, argument, _, value in places_of(name, arguments):
            if argument not in ("weight_tiles", "operand_tiles") or not value.size:
                continue
            moved = copy_aligned(np.append(value, value[:32]))[1:]
            for wrong in (value[:512], moved):
                count += 1
                call = copied(arguments)
                wrong = copy_aligned(wrong) if wrong is not moved else moved
                if found := refusal(name, argument, replaced(call, place, wrong)):
                    passed.append([name, argument, found])
    show([passed, count])


# -------------------------------------------------------------------------------- the tests


def run_checked(call, **environment):
    code = f"import test_checks; test_checks.{call}"
    return json.loads(run_python(code, FASTNN_CHECKS="1", **environment))


def test_every_public_kernel_has_a_contract():
    assert set(CONTRACTS) == set(kernels.__all__)
    for name, contract in CONTRACTS.items():
        assert list(contract) == list(inspect.signature(find_oracle(name)).parameters)
        for argument, spec in contract.items():
            assert isinstance(spec, Array | Number | Record | Parts), argument


def test_calls_of_a_wrong_size_are_refused():
    passed, count = run_checked("fuzz(400)")
    assert passed == []
    assert count > 1000


def test_arguments_of_a_wrong_type_are_refused():
    passed, count = run_checked("wrong_types(100)")
    assert passed == []
    assert count > 500


def test_packed_operands_of_a_wrong_size_or_place_are_refused():
    passed, count = run_checked("wrong_tiles()")
    assert passed == []
    assert count >= 8


def test_right_calls_give_the_same_bits_with_checks():
    assert run_checked("show(test_checks.digests())") == digests()


def test_fastnn_itself_passes_the_checks():
    assert run_checked("show(test_checks.library_digest())") == library_digest()


REFUSED = {
    "label": (
        "kernels.softmax_cross_entropy(np.empty(2), a(2, 3), a(2, 3), np.array([0, 3]))",
        "softmax_cross_entropy: targets has a label outside of [0, C), with C = logits.shape[1]",
    ),
    "negative label": (
        "kernels.softmax_cross_entropy_backward(a(2, 3), a(2, 3), np.array([0, -1]))",
        "softmax_cross_entropy_backward: targets has a label outside of [0, C), "
        "with C = probabilities.shape[1]",
    ),
    "index": (
        "kernels.gather_rows(a(2, 3), a(4, 3), np.array([0, 4]))",
        "gather_rows: indices has an index outside of [0, N), the rows of source",
    ),
    "bytes": (
        "kernels.convert_rows(a(2, 3), np.zeros(17, np.uint8), "
        "np.array([(0, 0, 3, 1, 1.0, 0.0)], SAMPLE_LAYOUT), np.array([0, 5]))",
        "convert_rows: layout reaches outside of the bytes, for the numbers in it or for an "
        "index of the samples",
    ),
    "overlap": (
        "x = a(5, 3); kernels.relu_forward(x[1:], x[:-1])",
        "relu_forward: outputs shares memory with inputs, and does not start where it does",
    ),
    "same array": (
        "x = a(3, 3); kernels.dense_forward(x, x, a(3, 3), a(1, 3))",
        "dense_forward: outputs shares memory with inputs",
    ),
    "two outputs": (
        "x = a(2, 3); kernels.dropout_forward(x, x, a(2, 3), 0.5, 1, 0, 0)",
        "dropout_forward: outputs shares memory with mask",
    ),
    "rate": (
        "kernels.dropout_forward(a(2, 3), a(2, 3), a(2, 3), 1.0, 1, 0, 0)",
        "dropout_forward: rate is out of range, expected 0 <= rate < 1",
    ),
    "dtype": (
        "kernels.dense_forward(a(2, 3), a(2, 4), a(4, 3).astype('f8'), a(1, 3))",
        "dense_forward: weights is array(float64, 2d, C), expected float32, as inputs",
    ),
    "shape": (
        "kernels.dense_forward(a(2, 3), a(2, 4), a(5, 3), a(1, 3))",
        "dense_forward: weights is not (I, O): weights.shape[0] is not inputs.shape[1]",
    ),
    "no class": (
        "kernels.softmax_forward(a(2, 0), a(2, 0))",
        "softmax_forward: inputs has no columns, expected some",
    ),
    "jitted code": (
        "numba.njit(lambda x, w: kernels.dense_forward(x, x.copy(), w, w[:1]))(a(2, 3), a(4, 3))",
        "dense_forward: weights is not (I, O): weights.shape[0] is not inputs.shape[1]",
    ),
}

ALLOWED = {
    "in place": "x = a(2, 3); kernels.relu_forward(x, x)",
    "neighbors": "x = a(4, 3); kernels.relu_forward(x[:2], x[2:])",
    "nothing": "x = a(4, 3); kernels.relu_forward(x[2:2], x[1:1])",
    "no rows": "kernels.dense_forward(a(0, 3), a(0, 4), a(4, 3), a(3))",
    "unread": "kernels.dense_backward(None, None, a(1, 3), a(2, 3), None, None)",
    "any shape": "kernels.sgd_update(a(2, 3, 4), a(2, 3, 4), 1)",
}


def test_messages_name_the_kernel_and_the_argument():
    code = [
        "import json, numba, numpy as np",
        "from fastnn import kernels",
        "from fastnn.kernels.records import SAMPLE_LAYOUT",
        "a, found = lambda *shape: np.ones(shape, np.float32), []",
    ]
    for call in (*(call for call, _ in REFUSED.values()), *ALLOWED.values()):
        *before, last = call.split("; ")
        code += [*before, "try:", f"    {last}", "    found.append(None)"]
        code += ["except ValueError as error:", "    found.append(str(error))"]
    code.append("print(json.dumps(found))")
    found = json.loads(run_python("\n".join(code), FASTNN_CHECKS="1"))
    assert found == [text for _, text in REFUSED.values()] + [None] * len(ALLOWED)


WRONG_RELU = """
import numpy as np
from fastnn import kernels
x = np.ones(8, np.float32)
kernels.relu_forward(x, x)
try:
    kernels.relu_forward(x[:2], x[2:5])
except ValueError:
    print("refused", end=" ")
stats = kernels.relu_forward.stats
print(sum(stats.cache_hits.values()), sum(stats.cache_misses.values()))
"""


def test_machine_code_with_checks_and_without_lie_apart(tmp_path):
    cache = {"FASTNN_CACHE_DIR": str(tmp_path)}
    assert run_python(WRONG_RELU, FASTNN_CHECKS="0", **cache) == "0 1"
    assert run_python(WRONG_RELU, FASTNN_CHECKS="1", **cache) == "refused 0 1"
    assert run_python(WRONG_RELU, FASTNN_CHECKS="0", **cache) == "1 0"
    assert run_python(WRONG_RELU, FASTNN_CHECKS="1", **cache) == "refused 1 0"


def instructions(dispatcher, signature):
    """Return the instructions of a kernel, without the names that numba makes up."""
    dispatcher._cache = NullCache()  # of stored code numba has no text
    dispatcher.compile(signature)
    lines = dispatcher.inspect_asm(dispatcher.signatures[0]).splitlines()
    found = [re.sub(r"\w*_ZN\S+", "name", line) for line in lines if re.match(r"\t[a-z]", line)]
    assert len(found) > 50
    return found


F = numba.float32[:, ::1]


@pytest.mark.skipif(os.environ.get("FASTNN_CHECKS") == "1", reason="is about code without checks")
@pytest.mark.parametrize(
    ("name", "signature"),
    [
        ("relu_forward", (F, F)),
        ("softmax_forward", (F, F)),
        ("softmax_cross_entropy", (numba.float64[::1], F, F, numba.int64[::1])),
        ("gather_rows", (F, F, numba.int64[::1])),
    ],
)
def test_without_the_variable_there_is_not_one_instruction_more(name, signature):
    function = getattr(kernels, name).py_func
    assert function.__code__.co_filename != "<string>"
    bare = instructions(numba.njit(**jit._FLAGS)(function), signature)
    assert instructions(jit.kernel(function), signature) == bare
    guarded = checks.checked(function, jit.inner(function), jit._FLAGS)
    assert instructions(numba.njit(**jit._FLAGS)(guarded), signature) != bare


def test_a_kernel_of_the_reference_is_not_checked():
    code = "from fastnn import kernels; print(hasattr(kernels.relu_forward, 'py_func'))"
    assert run_python(code, FASTNN_CHECKS="1", FASTNN_REFERENCE="1") == "False"
