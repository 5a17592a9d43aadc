"""Every kernel against its NumPy reference, and what its contract in `kernels/README.md` says."""

import ctypes
import decimal
import inspect
import math
import mmap
import sys
from concurrent.futures import ThreadPoolExecutor

import numba
import numpy as np
import pytest
from child import run_python
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_cases import KERNELS, find_oracle

from fastnn import kernels
from fastnn.kernels import reference, target
from fastnn.kernels.elementary import exp, log
from fastnn.kernels.pointers import pointer
from fastnn.kernels.simd import lanes, load, store
from fastnn.kernels.target import ENOUGH_COLUMNS, LARGE_OPERAND, PANEL_DEPTH
from fastnn.kernels.threads import share

DTYPES = (np.float32, np.float64)

# Around the edges of vectors (8 and 16 elements), of tiles on every target (4 or 8 rows, 4 to 48
# columns) and, for a product, of the panels that are packed on the stack.
EDGES = (1, 2, 3, 7, 8, 9, 15, 16, 17, 23, 24, 25, 31, 33, 47, 48, 49, 100)
PANEL_EDGES = (PANEL_DEPTH - 1, PANEL_DEPTH, PANEL_DEPTH + 1, PANEL_DEPTH + 44)
# (batch, inputs, outputs) whose gradient of the weights packs both operands in blocks.
LARGE_GRADIENT = (700, LARGE_OPERAND // 700 + 41, ENOUGH_COLUMNS + 45)
GUARD = 192  # bytes: three vectors

every_dtype = pytest.mark.parametrize("dtype", DTYPES)
every_case = pytest.mark.parametrize("name", KERNELS)


def cases(condition):
    return pytest.mark.parametrize("name", [n for n, case in KERNELS.items() if condition(case)])


def ragged_shapes(dimensions):
    """Return shapes with every edge in every dimension, one at a time and mixed."""
    count = len(dimensions)
    edges = EDGES + PANEL_EDGES if count == 3 else EDGES
    plain = (9, 17, 35)[:count]
    single = [(*plain[:d], edge, *plain[d + 1 :]) for d in range(count) for edge in edges]
    mixed = zip(EDGES, EDGES[5:] + EDGES[:5], EDGES[11:] + EDGES[:11], strict=True)
    return single + [shape[:count] for shape in mixed]


def arguments(name, shape, dtype, seed=0):
    case = KERNELS[name]
    shape = shape[: len(case.dimensions)]
    return case.make_arguments(np.random.default_rng(seed), shape, dtype)


def guarded(value, fill, offset, keep=True):
    """Return a copy of an array inside a buffer of bytes `fill`, and the bytes on its two sides.

    It starts `offset` numbers behind a multiple of 64 bytes, and holds `fill` too unless `keep`.
    """
    if not isinstance(value, np.ndarray):
        return value, []
    buffer = np.full(value.nbytes + 2 * GUARD + 128, fill, np.uint8)
    start = GUARD + -(buffer.ctypes.data + GUARD) % 64 + offset * value.dtype.alignment
    stop = start + value.nbytes
    array = buffer[start:stop].view(value.dtype).reshape(value.shape)
    if keep:
        array[...] = value
    return array, [buffer[:start], buffer[stop:]]


def call(name, outputs, inputs, fill=0xA5, offset=0):
    """Call a kernel on guarded copies; return what it returns, and its outputs.

    Outputs are poisoned with `fill`. Inputs, and all bytes around arrays, must stay as they were.
    """
    case = KERNELS[name]
    outputs = [guarded(value, fill, offset, keep=case.in_place) for value in outputs]
    inputs = [guarded(value, fill, offset) for value in inputs]
    results, values = [array for array, _ in outputs], [array for array, _ in inputs]
    before = [value.tobytes() for value in values if isinstance(value, np.ndarray)]
    returned = case.kernel(*results, *values)
    after = [value.tobytes() for value in values if isinstance(value, np.ndarray)]
    assert after == before, "an input was changed"
    for _, sides in outputs + inputs:
        assert all((side == fill).all() for side in sides), "bytes around an array were changed"
    return returned, results


def widened(values):
    """Return `values` with all floats in float64."""
    return [
        value.astype(np.float64) if getattr(value, "dtype", None) == np.float32 else value
        for value in values
    ]


def check_values(name, shape, dtype, seed=0):
    """Compare a kernel with its reference in float64, within the bound of its case."""
    case = KERNELS[name]
    outputs, inputs = arguments(name, shape, dtype, seed)
    returned, results = call(name, outputs, inputs)
    expected, inputs = widened(outputs), widened(inputs)
    wanted = case.reference(*expected, *inputs)
    assert type(returned) is type(wanted)
    assert returned == wanted
    for result, value, bound in zip(results, expected, case.error(expected, *inputs), strict=True):
        if value is not None:
            assert result.shape == value.shape
            assert result.dtype == dtype
            errors = np.abs(result - value) / np.finfo(dtype).eps
            assert (errors <= bound).all(), f"{shape}: an error of {errors.max()} eps"


def same_bits(first, second):
    return [a is not None and a.tobytes() for a in first] == [
        b is not None and b.tobytes() for b in second
    ]


# ------------------------------------------------------------------------------- the registry


def test_every_kernel_on_arrays_has_a_case():
    covered = {case.kernel.__name__ for case in KERNELS.values()}
    assert covered == set(kernels.__all__) - {
        "pack_network",
        "predict_few",
        "predict_rows",
        "train_shards",
        "train_steps",
        "unpack_states",
    }


def test_all_names_every_kernel_once():
    found = [name for name, value in vars(kernels).items() if hasattr(value, "py_func")]
    assert sorted(found) == sorted(kernels.__all__)


@pytest.mark.parametrize("name", kernels.__all__)
def test_kernel_and_reference_have_one_signature(name):
    signature = inspect.signature(getattr(kernels, name).py_func)
    assert signature == inspect.signature(find_oracle(name))


def test_an_inner_function_is_not_for_python():
    """It has no machine code of its own, so a call must not run whatever lies at its address."""
    with pytest.raises(MemoryError):
        share(10, 2, 0, 2)


# -------------------------------------------------------------------------- values and memory


@every_case
@every_dtype
def test_values_at_the_edges_of_tiles(name, dtype):
    for shape in ragged_shapes(KERNELS[name].dimensions):
        check_values(name, shape, dtype)


@cases(lambda case: case.gradient_of == "dense_forward")
@every_dtype
def test_values_of_a_large_dense_gradient(name, dtype):
    check_values(name, LARGE_GRADIENT, dtype)


@every_case
@every_dtype
@settings(deadline=None, max_examples=25)
@given(shape=st.tuples(*[st.integers(1, 70)] * 3), seed=st.integers(0, 2**32))
def test_values_at_any_shape(name, dtype, shape, seed):
    check_values(name, shape, dtype, seed)


@every_case
@every_dtype
def test_zero_rows(name, dtype):
    for size in (1, 5, 16, 49):
        check_values(name, (0, size, 19), dtype)


@cases(lambda case: "I" in case.dimensions)
@every_dtype
def test_zero_inputs_and_zero_outputs(name, dtype):
    for shape in ((5, 0, 19), (5, 19, 0), (0, 0, 0)):
        check_values(name, shape, dtype)


@cases(lambda case: not case.in_place)
@every_dtype
def test_outputs_are_never_read(name, dtype):
    for shape in ragged_shapes(KERNELS[name].dimensions):
        outputs, inputs = arguments(name, shape, dtype)
        zeros = call(name, outputs, inputs, fill=0x00)
        nans = call(name, outputs, inputs, fill=0xFF)
        assert zeros[0] == nans[0]
        assert same_bits(zeros[1], nans[1]), f"{shape}: bits that depend on old contents"


@every_case
@every_dtype
def test_bits_do_not_depend_on_alignment(name, dtype):
    for shape in ((5, 7, 9), (9, 49, 35), (17, 16, 100)):
        outputs, inputs = arguments(name, shape, dtype)
        returned, aligned = call(name, outputs, inputs)
        for offset in (1, 3, 5, 7):
            returned_too, shifted = call(name, outputs, inputs, offset=offset)
            assert returned == returned_too
            assert same_bits(aligned, shifted)


def at_the_end_of_memory(value):
    """Return a copy of an array behind which nothing may be read: one byte ends the process."""
    if not isinstance(value, np.ndarray):
        return value
    size = -(-value.nbytes // mmap.PAGESIZE) * mmap.PAGESIZE
    memory = mmap.mmap(-1, size + mmap.PAGESIZE)
    behind = ctypes.addressof(ctypes.c_char.from_buffer(memory, size))
    protect = ctypes.CDLL(None).mprotect
    assert protect(ctypes.c_void_p(behind), ctypes.c_size_t(mmap.PAGESIZE), 0) == 0
    array = np.frombuffer(memory, np.uint8)[size - value.nbytes : size]
    array = array.view(value.dtype).reshape(value.shape)
    array[...] = value
    return array


def call_at_the_end_of_memory():
    for name, case in KERNELS.items():
        for dtype in DTYPES:
            for shape in ragged_shapes(case.dimensions):
                outputs, inputs = arguments(name, shape, dtype)
                case.kernel(*map(at_the_end_of_memory, outputs + inputs))


@pytest.mark.skipif(sys.platform == "win32", reason="needs mprotect")
def test_nothing_behind_an_array_is_touched():
    run_python("import test_kernels; test_kernels.call_at_the_end_of_memory()")


@every_case
@every_dtype
def test_other_shapes_and_views_compile_nothing(name, dtype):
    kernel = KERNELS[name].kernel
    call(name, *arguments(name, (5, 6, 7), dtype))
    compiled = len(kernel.signatures)
    for shape in ((5, 6, 7), (1, 1, 1), (0, 3, 2), (33, 17, 49)):
        call(name, *arguments(name, shape, dtype), offset=3)
    assert len(kernel.signatures) == compiled


@pytest.mark.parametrize(
    ("name", "output", "argument"),
    [
        ("relu_forward", 0, 0),
        ("relu_backward", 0, 0),
        ("relu_backward", 0, 1),
        ("softmax_forward", 0, 0),
        ("softmax_backward", 0, 0),
        ("softmax_backward", 0, 1),
        ("dropout_forward", 0, 0),
        ("dropout_backward", 0, 0),
        ("dropout_backward", 0, 1),
        ("layer_norm_forward", 0, 0),
        ("batch_norm_predict", 0, 0),
        ("softmax_cross_entropy_forward-labels", 1, 0),
        ("softmax_cross_entropy_forward-rows", 1, 0),
        ("softmax_cross_entropy_backward-labels", 0, 0),
        ("softmax_cross_entropy_backward-rows", 0, 0),
        ("softmax_cross_entropy-labels", 1, 0),
        ("softmax_cross_entropy-rows", 1, 0),
    ],
)
@every_dtype
def test_output_may_be_the_input(name, output, argument, dtype):
    for shape in ragged_shapes(KERNELS[name].dimensions):
        outputs, inputs = arguments(name, shape, dtype)
        _, apart = call(name, outputs, inputs)
        shared = [inputs[argument] if i == output else o for i, o in enumerate(outputs)]
        KERNELS[name].kernel(*shared, *inputs)
        assert same_bits(shared, apart)


@pytest.mark.parametrize("output", [0, 1, 2])
@every_dtype
def test_a_dense_gradient_alone_has_the_bits_of_all(output, dtype):
    name = ("dense_backward-dinputs", "dense_backward-dweights", "dense_backward-dbiases")[output]
    for shape in ((5, 7, 9), (33, 49, PANEL_EDGES[-1])):
        outputs, inputs = arguments("dense_backward", shape, dtype)
        _, together = call("dense_backward", outputs, inputs)
        _, alone = call(name, arguments(name, shape, dtype)[0], inputs)
        assert same_bits([together[output]], [alone[output]])


@every_dtype
def test_all_dense_products_sum_in_one_order(dtype):
    """Gradients have the bits of a forward pass on transposed copies, panels and all."""
    deep, deeper = PANEL_EDGES[-2:]
    for shape in ((5, 7, 9), (33, 49, deeper), (deeper, 17, deep), LARGE_GRADIENT):
        outputs, (doutputs, inputs, weights) = arguments("dense_backward", shape, dtype)
        _, (dinputs, dweights, _) = call("dense_backward", outputs, (doutputs, inputs, weights))
        for gradient, left, right in (
            (dinputs, doutputs, weights.T.copy()),
            (dweights, inputs.T.copy(), doutputs),
        ):
            product, zeros = np.empty_like(gradient), np.zeros((1, gradient.shape[1]), dtype)
            kernels.dense_forward(product, left, right, zeros)
            assert same_bits([gradient], [product])


def test_dense_sums_go_from_first_to_last():
    """In float32, whose products are exact in float64; the bias comes first."""
    for shape in ((5, 7, 9), (17, PANEL_EDGES[-1], 49)):
        outputs, (inputs, weights, biases) = arguments("dense_forward", shape, np.float32)
        _, (found,) = call("dense_forward", outputs, (inputs, weights, biases))
        sums = np.broadcast_to(biases, found.shape)
        for k in range(shape[1]):
            terms = inputs[:, k : k + 1].astype(np.float64) * weights[k]
            if not target.current().fma:
                terms = terms.astype(np.float32)
            sums = (terms + sums).astype(np.float32)
        assert same_bits([found], [sums])
        dbiases = np.empty_like(biases)
        kernels.dense_backward(None, None, dbiases, found, inputs, weights)
        assert same_bits([dbiases], [np.add.accumulate(found, axis=0)[-1:]])


def test_a_jitted_function_calls_kernels():
    @numba.njit
    def layer(outputs, sums, inputs, weights, biases):
        kernels.dense_forward(sums, inputs, weights, biases)
        kernels.relu_forward(outputs, sums)

    (sums,), inputs = arguments("dense_forward", (5, 7, 9), np.float32)
    outputs, expected = np.empty_like(sums), np.empty_like(sums)
    layer(outputs, sums, *inputs)
    kernels.dense_forward(expected, *inputs)
    assert same_bits([sums], [expected])
    assert np.array_equal(outputs, np.maximum(expected, 0))


def test_calls_side_by_side_do_not_meet():
    shape = (64, 100, 300)
    outputs, inputs = arguments("dense_backward", shape, np.float32)
    _, expected = call("dense_backward", outputs, inputs)

    def work(_):
        results, _ = arguments("dense_backward", shape, np.float32)
        for _ in range(50):
            kernels.dense_backward(*results, *inputs)
        return results

    with ThreadPoolExecutor(4) as pool:
        for results in pool.map(work, range(8)):
            assert same_bits(results, expected)


def test_an_array_that_is_not_c_contiguous_does_not_compile():
    rows = np.ones((4, 5), np.float32)
    for outputs, inputs in ((np.asfortranarray(rows), rows), (rows, rows[:, ::2])):
        with pytest.raises(numba.TypingError, match="C-contiguous"):
            kernels.relu_forward(outputs, inputs)


# ----------------------------------------------------------------------------------- gradients


@cases(lambda case: case.gradient_of)
@pytest.mark.parametrize("shape", [(4, 5, 3), (1, 3, 9), (3, 17, 2)])
def test_gradients_are_central_differences(name, shape):
    """Of the mean loss, or else of a random linear functional of the outputs."""
    backward, forward = KERNELS[name], KERNELS[KERNELS[name].gradient_of]
    outputs, inputs = arguments(backward.gradient_of, shape, np.float64)
    names = inspect.signature(forward.reference).parameters
    values = dict(zip(names, outputs + inputs, strict=True))
    values["doutputs"] = np.random.default_rng(1).standard_normal(outputs[0].shape)

    def functional():
        forward.kernel(*outputs, *inputs)
        if "losses" in values:
            return values["losses"].mean()
        return (values["outputs"] * values["doutputs"]).sum()

    functional()
    found, _ = arguments(name, shape, np.float64)
    names = list(inspect.signature(backward.reference).parameters)
    backward.kernel(*found, *(values[parameter] for parameter in names[len(found) :]))
    gradients = {
        parameter.removeprefix("d"): gradient
        for parameter, gradient in zip(names, found, strict=False)
        if parameter.startswith("d") and gradient is not None
    }
    assert gradients
    for parameter, gradient in gradients.items():
        array, expected, step = values[parameter], np.empty_like(gradient), 1e-6
        for index in np.ndindex(array.shape):
            middle = array[index]
            array[index] = middle + step
            above = functional()
            array[index] = middle - step
            expected[index] = (above - functional()) / (2 * step)
            array[index] = middle
        # Rounding: eps * functional / step. Truncation: step**2 / 3 / p**2 for a loss log(p).
        np.testing.assert_allclose(gradient, expected, rtol=1e-6, atol=1e-8)


# ------------------------------------------------------------------------------ special values


@pytest.mark.parametrize("module", [kernels, reference])
@every_dtype
def test_relu_golden_table(module, dtype):
    tiny, nan, inf = np.finfo(dtype).smallest_subnormal, np.nan, np.inf
    inputs = [-inf, -1.0, -tiny, -0.0, 0.0, tiny, 1.0, inf, nan]
    values = [0.0, 0.0, 0.0, 0.0, 0.0, tiny, 1.0, inf, nan]
    passes = [False] * 5 + [True] * 4
    # Five times: through whole vectors and through the last, partial one.
    inputs, values, passes = (np.tile(row, 5)[None] for row in (inputs, values, passes))
    inputs, values = inputs.astype(dtype), values.astype(dtype)
    outputs = np.empty_like(inputs)
    module.relu_forward(outputs, inputs)
    assert same_bits([outputs], [values])
    for slope in (-0.0, 3.0, -inf, nan):
        doutputs = np.full_like(inputs, slope)
        module.relu_backward(outputs, doutputs, inputs)
        assert same_bits([outputs], [np.where(passes, doutputs, dtype(0))])


@pytest.mark.parametrize("module", [kernels, reference])
@every_dtype
def test_nan_fills_the_dense_sums_it_enters_and_no_others(module, dtype):
    inputs, weights, doutputs = (np.ones(s, dtype) for s in ((9, 17), (17, 35), (9, 35)))
    outputs, biases = np.empty_like(doutputs), np.ones((1, 35), dtype)
    gradients = [np.empty_like(array) for array in (inputs, weights, biases)]
    inputs[8, 16] = weights[0, 33] = biases[0, 2] = doutputs[3, 34] = np.nan
    with np.errstate(invalid="ignore"):
        module.dense_forward(outputs, inputs, weights, biases)
        inputs[8, 16] = weights[0, 33] = 1
        module.dense_backward(*gradients, doutputs, inputs, weights)
    expected = np.zeros((9, 35), bool)
    expected[8] = expected[:, [2, 33]] = True
    assert np.array_equal(np.isnan(outputs), expected)
    dinputs, dweights, dbiases = map(np.isnan, gradients)
    assert np.array_equal(dinputs, np.repeat(np.arange(9) == 3, 17).reshape(9, 17))
    assert np.array_equal(dweights, np.tile(np.arange(35) == 34, (17, 1)))
    assert np.array_equal(dbiases, (np.arange(35) == 34)[None])


@every_dtype
def test_softmax_of_extreme_logits(dtype):
    inf = np.inf
    table = (
        ([1e30, -1e30, 0], [1, 0, 0]),
        ([1e30, 1e30, -1e30], [0.5, 0.5, 0]),
        ([-1e30, -1e30, -1e30], [1 / 3] * 3),
        ([-inf, 5, -inf], [0, 1, 0]),
        ([1000, 999, -inf], [1 / (1 + np.exp(-1)), 1 / (1 + np.e), 0]),
        ([0, -1000, -2000], [1, 0, 0]),
    )
    inputs = np.array([row for row, _ in table], dtype)
    expected = np.array([row for _, row in table])
    for repeat in (1, 7):  # one partial vector, or whole ones
        outputs = np.empty((len(table), 3 * repeat), dtype)
        kernels.softmax_forward(outputs, np.tile(inputs, repeat))
        error = np.abs(outputs * repeat - np.tile(expected, repeat))
        assert error.max() <= (3 * repeat + 5) * np.finfo(dtype).eps


@every_dtype
def test_softmax_of_equal_logits_is_uniform(dtype):
    for classes in EDGES:
        outputs = np.empty((1, classes), dtype)
        for value in (0.0, -3.0, 1e30):
            kernels.softmax_forward(outputs, np.full((1, classes), value, dtype))
            assert np.ptp(outputs) == 0
            assert abs(outputs[0, 0] - 1 / classes) <= np.finfo(dtype).eps / classes


@every_dtype
def test_softmax_rows_sum_to_1(dtype):
    for shape in ragged_shapes("BC"):
        _, (outputs,) = call("softmax_forward", *arguments("softmax_forward", shape, dtype))
        assert (outputs >= 0).all()
        sums = outputs.sum(axis=1, dtype=np.float64)
        assert np.abs(sums - 1).max() <= (shape[1] + 2) * np.finfo(dtype).eps


@pytest.mark.parametrize("module", [kernels, reference])
@every_dtype
def test_softmax_row_with_nan_is_nan_and_its_neighbors_are_not(module, dtype):
    for classes in (1, 2, 8, 9, 16, 17, 40):
        for at in range(classes):
            inputs = np.ones((3, classes), dtype)
            inputs[1, at] = np.nan
            outputs = np.empty_like(inputs)
            module.softmax_forward(outputs, inputs)
            assert np.array_equal(np.isnan(outputs).all(axis=1), [False, True, False])
            assert not np.isnan(outputs[::2]).any()


@pytest.mark.parametrize("row", [[np.inf, 0, 1], [-np.inf, -np.inf, -np.inf]])
@pytest.mark.parametrize("module", [kernels, reference])
@every_dtype
def test_softmax_without_a_finite_largest_logit_is_nan(module, row, dtype):
    outputs = np.empty((1, 3), dtype)
    with np.errstate(invalid="ignore"):
        module.softmax_forward(outputs, np.array([row], dtype))
    assert np.isnan(outputs).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("module", [kernels, reference])
@every_dtype
def test_all_finite_sees_one_bad_element_anywhere(module, bad, dtype):
    values = np.full(97, np.finfo(dtype).max)  # large sums are no reason
    for size in (1, 2, 15, 16, 17, 63, 64, 65, 97):
        assert module.all_finite(values[:size]) is True
        for at in range(size):
            values[at] = bad
            assert module.all_finite(values[:size]) is False
            values[at] = -np.finfo(dtype).max
    assert module.all_finite(values.reshape(97, 1, 1)) is True


# --------------------------------------------------------------------------------- cross-entropy


@pytest.mark.parametrize("module", [kernels, reference])
@pytest.mark.parametrize("soft", [False, True])
@every_dtype
def test_loss_is_exact_where_log_of_softmax_is_not_finite(module, soft, dtype):
    logits = np.array([[1000, 0], [0, 1000], [-500, 500], [1e30, -1e30], [-np.inf, 0]], dtype)
    labels = np.array([0, 0, 0, 1, 1])
    targets = np.eye(2, dtype=dtype)[labels] if soft else labels
    losses, dlogits = np.empty(5, dtype), np.empty_like(logits)
    with np.errstate(invalid="ignore"):  # 0 * inf, which the reference then selects away
        module.softmax_cross_entropy(losses, dlogits, logits, targets)
    assert losses.tolist() == [0, 1000, 1000, dtype(2e30), 0]
    expected = np.array([[0, 0], [-1, 1], [-1, 1], [1, -1], [0, 0]], dtype) / 5
    assert np.array_equal(dlogits, expected)
    probabilities, separate = np.empty_like(logits), np.empty_like(losses)
    with np.errstate(invalid="ignore"):
        module.softmax_cross_entropy_forward(separate, probabilities, logits, targets)
    assert np.array_equal(separate, losses)


@pytest.mark.parametrize("module", [kernels, reference])
@pytest.mark.parametrize("soft", [False, True])
@every_dtype
def test_a_logit_that_is_not_finite_shows_in_the_loss_of_its_row(module, soft, dtype):
    nan, inf = np.nan, np.inf
    for classes in (3, 16, 33):
        logits = np.zeros((4, classes), dtype)
        logits[:, -1] = 0, nan, inf, -inf
        for label, last_loss in ((0, np.log(classes - 1)), (classes - 1, inf)):
            labels = np.full(4, label)
            targets = np.eye(classes, dtype=dtype)[labels] if soft else labels
            losses, dlogits = np.empty(4, dtype), np.empty_like(logits)
            with np.errstate(invalid="ignore"):
                module.softmax_cross_entropy(losses, dlogits, logits, targets)
            expected = [np.log(classes), nan, nan, last_loss]
            np.testing.assert_allclose(losses, expected, rtol=classes * np.finfo(dtype).eps)
            assert np.isnan(dlogits).all(axis=1).tolist() == [False, True, True, False]


@pytest.mark.parametrize("module", [kernels, reference])
@pytest.mark.parametrize("soft", [False, True])
@every_dtype
def test_clipped_cross_entropy_is_finite_at_0_and_1(module, soft, dtype):
    probabilities = np.array([[0, 1], [1, 0], [0.25, 0.75]], dtype)
    labels = np.array([0, 0, 0])
    targets = np.eye(2, dtype=dtype)[labels] if soft else labels
    losses, gradient = np.empty(3, dtype), np.empty_like(probabilities)
    for epsilon in (1e-7, float(np.finfo(dtype).eps)):
        clipped = np.array([epsilon, 1 - epsilon, 0.25])
        module.cross_entropy_forward(losses, probabilities, targets, epsilon)
        module.cross_entropy_backward(gradient, probabilities, targets, epsilon)
        expected = np.column_stack([-1 / clipped / 3, np.zeros(3)])
        rtol = 2 * np.finfo(dtype).eps
        np.testing.assert_allclose(losses, -np.log(clipped), rtol=rtol)
        np.testing.assert_allclose(gradient, expected, rtol=rtol)


@pytest.mark.parametrize(
    "name", [name.removesuffix("-labels") for name in KERNELS if name.endswith("-labels")]
)
@every_dtype
def test_labels_and_their_one_hot_rows_agree(name, dtype):
    for shape in ragged_shapes("BC"):
        outputs, (first, labels, *rest) = arguments(name + "-labels", shape, dtype)
        one_hot = np.eye(shape[1], dtype=dtype)[labels]
        _, from_labels = call(name + "-labels", outputs, (first, labels, *rest))
        _, from_rows = call(name + "-rows", outputs, (first, one_hot, *rest))
        for a, b in zip(from_labels, from_rows, strict=True):
            # One difference is rounded: labels take it in float64, so float64 has equal bits.
            size = np.finfo(dtype).eps if dtype == np.float32 else 0
            np.testing.assert_allclose(a, b, rtol=2 * size, atol=size / (shape[0] ** (a.ndim - 1)))


@pytest.mark.parametrize("targets", ["labels", "rows"])
@every_dtype
def test_fused_loss_has_the_bits_of_loss_and_gradient_apart(targets, dtype):
    for shape in ragged_shapes("BC"):
        name = f"softmax_cross_entropy-{targets}"
        outputs, (logits, wanted) = arguments(name, shape, dtype)
        _, (losses, dlogits) = call(name, outputs, (logits, wanted))
        name = f"softmax_cross_entropy_forward-{targets}"
        _, (losses_apart, probabilities) = call(name, outputs, (logits, wanted))
        name = f"softmax_cross_entropy_backward-{targets}"
        _, (dlogits_apart,) = call(name, outputs[1:], (probabilities, wanted))
        assert same_bits([losses, dlogits], [losses_apart, dlogits_apart])


# ------------------------------------------------------------------------------------------ exp


@numba.njit(error_model="numpy")
def exp_elements(results, values):
    result, value = pointer(results), pointer(values)
    for i in range(0, len(values), lanes(value)):
        store(result + i, exp(load(value + i)))


# Worst errors in units in the last place, over all float32 numbers and 60 million float64 ones:
# 0.94 and 0.91 with a fused multiply-add, 1.19 and 1.16 without.
MAX_ULP = 1.0 if target.current().fma else 1.25


# Likewise of the logarithm; see `kernels/README.md`.
MAX_LOG_ULP = 1.0 if target.current().fma else 1.25


def exp_of(values):
    """Return the kernels' exp of `values`, as many as whole vectors hold."""
    assert len(values) % 16 == 0
    results = np.empty_like(values)
    exp_elements(results, values)
    return results


def test_exp_of_float32():
    # Every 1021st bit pattern, against float64.
    every = np.arange(0, 2**32, 1021, dtype=np.uint64).astype(np.uint32).view(np.float32)
    values = every[np.isfinite(every)]
    values = values[: len(values) // 16 * 16]
    limit = 2.0**128  # what infinity stands for: the number behind the largest one
    results = np.minimum(exp_of(values).astype(np.float64), limit)
    with np.errstate(over="ignore", under="ignore"):
        expected = np.minimum(np.exp(values.astype(np.float64)), limit)
        largest = np.finfo(np.float32).max
        ulp = np.spacing(np.minimum(expected, largest).astype(np.float32)).astype(np.float64)
    assert np.count_nonzero((expected > 0) & (expected < np.finfo(np.float32).tiny)) > 1000
    assert (np.abs(results - expected) / ulp).max() <= MAX_ULP


def test_exp_of_float64():
    # Against decimal arithmetic, since long doubles are no wider on some platforms.
    rng = np.random.default_rng(0)
    values = np.concatenate(
        [
            rng.uniform(-746, 711, 8000),
            rng.uniform(-746, -708, 4000),  # results below the smallest normal number
            rng.uniform(709.7, 709.8, 2000),
            rng.uniform(-1, 1, 4000),
            np.ldexp(rng.uniform(-1, 1, 2000), rng.integers(-1074, 9, 2000)),
        ]
    )
    context = decimal.Context(prec=40, Emin=-9999, Emax=9999)
    limit = decimal.Decimal(2**1024)
    worst = 0
    for value, result in zip(values.tolist(), exp_of(values).tolist(), strict=True):
        expected = min(context.exp(decimal.Decimal(value)), limit)
        ulp = decimal.Decimal(math.ulp(min(float(expected), sys.float_info.max)))
        found = limit if result == np.inf else decimal.Decimal(result)
        worst = max(worst, context.divide(abs(context.subtract(found, expected)), ulp))
    assert worst <= MAX_ULP


@every_dtype
def test_exp_at_the_ends(dtype):
    info = np.finfo(dtype)
    log_max, log_least = np.log(info.max), np.log(info.smallest_subnormal)
    table = {
        -np.inf: 0, -info.max: 0, 100 * log_least: 0, 1.01 * log_least: 0,
        log_least: info.smallest_subnormal,
        -info.smallest_subnormal: 1, -0.0: 1, info.smallest_subnormal: 1,
        1.001 * log_max: np.inf, 100 * log_max: np.inf, info.max: np.inf, np.inf: np.inf,
        np.nan: np.nan,
    }  # fmt: skip
    values, expected = (np.array([*half] * 16, dtype) for half in (table, table.values()))
    np.testing.assert_array_equal(exp_of(values), expected)


# ------------------------------------------------------------------------------------------ log


@numba.njit(error_model="numpy")
def log_elements(results, values):
    result, value = pointer(results), pointer(values)
    for i in range(0, len(values), lanes(value)):
        store(result + i, log(load(value + i)))


def log_of(values):
    """Return the kernels' log of `values`, as many as whole vectors hold."""
    assert len(values) % 16 == 0
    results = np.empty_like(values)
    log_elements(results, values)
    return results


def test_log_of_float32():
    # Every 1021st positive bit pattern, and the neighborhood of 1, against float64.
    every = np.arange(1, 0x7F800000, 1021, dtype=np.uint32).view(np.float32)
    near = (np.arange(-50_000, 50_000) + 0x3F800000).astype(np.uint32).view(np.float32)
    values = np.concatenate([every, near])
    values = values[: len(values) // 16 * 16]
    expected = np.log(values.astype(np.float64))
    ulp = np.spacing(np.abs(expected).astype(np.float32)).astype(np.float64)
    assert np.count_nonzero(values < np.finfo(np.float32).tiny) > 1000
    assert (np.abs(log_of(values) - expected) / ulp).max() <= MAX_LOG_ULP


def test_log_of_float64():
    rng = np.random.default_rng(0)
    values = np.concatenate(
        [
            np.ldexp(rng.uniform(0.5, 1, 12_000), rng.integers(-1073, 1024, 12_000)),
            rng.uniform(0.5, 2, 6000),
            1 + np.ldexp(rng.uniform(-1, 1, 6000), rng.integers(-52, -3, 6000)),
        ]
    )
    context = decimal.Context(prec=40)
    worst = 0
    for value, result in zip(values.tolist(), log_of(values).tolist(), strict=True):
        expected = context.ln(decimal.Decimal(value))
        ulp = decimal.Decimal(math.ulp(float(expected)))
        worst = max(worst, abs(context.subtract(decimal.Decimal(result), expected)) / ulp)
    assert worst <= MAX_LOG_ULP


@every_dtype
def test_log_at_the_ends(dtype):
    info = np.finfo(dtype)
    table = {
        -np.inf: np.nan, -info.max: np.nan, -info.smallest_subnormal: np.nan, -0.0: -np.inf,
        1.0: 0, np.inf: np.inf, np.nan: np.nan,
    }  # fmt: skip
    values, expected = (np.array([*half] * 16, dtype) for half in (table, table.values()))
    np.testing.assert_array_equal(log_of(values), expected)
