"""64 networks at once: how much of a score is the network, and how much is chance?

Four widths of the hidden layer, each from sixteen seeds, learn the same digits. All train side by
side, each in one thread, and end with the bits that they would have alone:

     8 neurons: mean 0.952, from 0.904 to 0.968
    16 neurons: mean 0.970, from 0.963 to 0.976
    32 neurons: mean 0.974, from 0.965 to 0.978
    64 neurons: mean 0.977, from 0.970 to 0.983
    number 3 alone, the same bits: True

A comparison needs several seeds: from one seed each, the smaller network may well win.

    pairs in which 16 neurons do better than 32, or as well: 0.32
"""

import numpy as np

import fastnn
from fastnn.datasets import load_digits, split

X, y = load_digits()
X /= 16
train, test = split(len(X), 0.3, rng=0, labels=y)
WIDTHS = [w for w in (8, 16, 32, 64) for _ in range(16)]


def make_model(width, seed):
    """Return a network with one hidden layer."""
    rng = np.random.default_rng(seed)
    layers = [fastnn.Dense(64, width, rng=rng), fastnn.ReLU(), fastnn.Dense(width, 10, rng=rng)]
    return fastnn.Sequential(layers)


models = [make_model(width, seed) for seed, width in enumerate(WIDTHS)]
fastnn.fit_many(models, X[train], y[train], epochs=40, optimizer=fastnn.Adam(0.005), seed=0)
scores = np.array([model.evaluate(X[test], y[test])["accuracy"] for model in models])
for width in (8, 16, 32, 64):
    of_width = scores[np.array(WIDTHS) == width]
    print(
        f"{width:2} neurons: mean {of_width.mean():.3f}, "
        f"from {of_width.min():.3f} to {of_width.max():.3f}"
    )

alone = make_model(WIDTHS[3], 3)
alone.fit(X[train], y[train], epochs=40, optimizer=fastnn.Adam(0.005), seed=3)
print("number 3 alone, the same bits:", np.array_equal(alone.parameters, models[3].parameters))
smaller, larger = scores[16:32], scores[32:48]
share = (smaller[:, None] >= larger).mean()
print(f"pairs in which 16 neurons do better than 32, or as well: {share:.2f}")
