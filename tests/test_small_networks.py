"""What only small networks meet: layers of few outputs, and labels that are scored together."""

from itertools import pairwise

import numpy as np
import pytest

import fastnn
from fastnn.kernels import target
from fastnn.program.plan import make_plan, program_layers


class SlowDense(fastnn.Dense):
    """A class with passes of its own: the network trains layer by layer."""

    def forward(self, inputs, training=False):
        return super().forward(inputs)


def train(dense, sizes, dtype, optimizer, *, batch_size, threads=1):
    layers = []
    for i, (n_inputs, n_outputs) in enumerate(pairwise(sizes)):
        layers += [dense(n_inputs, n_outputs, rng=i, dtype=dtype), fastnn.ReLU()]
    model = fastnn.Sequential(layers[:-1])
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((53, sizes[0])).astype(dtype), rng.integers(0, sizes[-1], 53)
    history = model.fit(
        X, y, epochs=2, batch_size=batch_size, seed=0, verbose=False, threads=threads,
        optimizer=optimizer(),
    )  # fmt: skip
    return model.parameters.copy(), history.loss, history.accuracy


@pytest.mark.filterwarnings("ignore:.*layer by layer")
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("optimizer", [fastnn.SGD, fastnn.Adam, lambda: fastnn.SGD(momentum=0.9)])
def test_few_outputs_have_the_bits_of_layers_one_by_one(optimizer, dtype):
    # Around the columns of a panel, for every remainder of a tile; batches around a vector of rows.
    for width, outputs, batch_size in [
        (5, 1, 1), (16, 2, 3), (17, 3, 4), (48, 4, 15), (49, 5, 16), (50, 7, 17), (97, 8, 21),
        (64, 9, 32), (64, 15, 53), (64, 16, 19), (64, 17, 19),
    ]:  # fmt: skip
        sizes = 3, width, outputs
        slow = train(SlowDense, sizes, dtype, optimizer, batch_size=batch_size)
        for threads in (1, 3):
            fast = train(fastnn.Dense, sizes, dtype, optimizer, batch_size=batch_size,
                         threads=threads)  # fmt: skip
            np.testing.assert_array_equal(fast[0], slow[0], err_msg=f"{sizes} {threads}")
            np.testing.assert_array_equal(fast[2], slow[2], err_msg=f"{sizes} {threads}")
            # Layer by layer NumPy adds the losses of a batch, in another order.
            np.testing.assert_allclose(fast[1], slow[1], rtol=1e-14, err_msg=f"{sizes} {threads}")


def test_states_come_back_in_the_order_of_the_parameters():
    # A run in two parts stores the states of the weights that train transposed, and reads them.
    def run(parts):
        layers = [fastnn.Dense(3, 50, rng=0), fastnn.ReLU(), fastnn.Dense(50, 4, rng=1)]
        model, adam = fastnn.Sequential(layers), fastnn.Adam(0.01)
        rng = np.random.default_rng(1)
        X, y = rng.standard_normal((40, 3), np.float32), rng.integers(0, 4, 40)
        for epochs in parts:
            model.fit(X, y, epochs=epochs, batch_size=8, shuffle=False, verbose=False,
                      optimizer=adam)  # fmt: skip
        return model.parameters.copy()

    np.testing.assert_array_equal(run([4]), run([1, 3]))


@pytest.mark.parametrize(
    ("penalty", "clips", "thin"), [(0.0, False, True), (0.1, False, False), (0.0, True, False)]
)
def test_which_layers_train_transposed(penalty, clips, thin):
    layers = [
        fastnn.Dense(3, 64, rng=0), fastnn.ReLU(),
        fastnn.Dense(64, 3, rng=1, weights_l2=penalty),
    ]  # fmt: skip
    plan = make_plan(
        program_layers(layers), 3, 8, 4, training=True, n_states=2, keep_gradients=clips
    )
    first, last = plan.layers[["trains_transposed", "rows", "columns"]].tolist()
    assert first == (False, 3, 64)  # it has no transposed panels
    assert last == ((True, 3, 64) if thin else (False, 64, 3))


def test_pieces_are_whole_panels():
    # Of weights that train transposed a piece is some columns, and begins with a panel.
    for row in target.TARGETS:
        for bits in (32, 64):
            shape = row.shape(bits)
            assert shape.piece_rows % shape.columns == 0
            assert shape.columns % shape.block == 0
