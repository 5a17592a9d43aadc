"""A ResNet for tables: a deep network trains if its layers are added to their inputs.

The labels come from a function of 16 features that is not smooth. Two networks of 24 dense layers
learn it from 8,000 samples: one with a skip connection around each pair of layers, one without. The
script prints

    with skip connections: training loss 0.05, held-out accuracy 0.94
    without:               training loss 0.69, held-out accuracy 0.49
"""

import numpy as np

import fastnn

WIDTH, BLOCKS = 32, 11


def make_samples(n, rng):
    """Return features (n, 16) and labels (n,) of two classes."""
    X = rng.uniform(-1, 1, (n, 16)).astype(np.float32)
    return X, (np.sin(3 * X[:, 0]) * X[:, 1] + np.abs(X[:, 2]) * X[:, 3] > 0).astype(int)


def make_network(with_skips):
    """Return a network of 2 + 2 * BLOCKS dense layers."""
    rng = np.random.default_rng(0)
    layers = [fastnn.Dense(16, WIDTH, rng=rng)]
    for _ in range(BLOCKS):
        block = [
            fastnn.ReLU(),
            fastnn.Dense(WIDTH, WIDTH, rng=rng),
            fastnn.ReLU(),
            fastnn.Dense(WIDTH, WIDTH, rng=rng, init=fastnn.scaled_normal(0.05)),
        ]
        layers += [fastnn.Residual(block)] if with_skips else block
    layers += [fastnn.ReLU(), fastnn.Dense(WIDTH, 2, rng=rng)]
    return fastnn.Sequential(layers)


rng = np.random.default_rng(0)
X, y = make_samples(8_000, rng)
X_test, y_test = make_samples(2_000, rng)
for with_skips, title in ((True, "with skip connections:"), (False, "without:")):
    model = make_network(with_skips)
    history = model.fit(
        X, y, epochs=20, batch_size=64, seed=0, optimizer=fastnn.Adam(1e-3), verbose=False
    )
    accuracy = model.evaluate(X_test, y_test)["accuracy"]
    print(f"{title:22} training loss {history.loss[-1]:.2f}, held-out accuracy {accuracy:.2f}")
