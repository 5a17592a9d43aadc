"""Handwritten digits with dropout, early stopping and a cosine schedule, from ten seeds.

Each seed has its own split into samples to train on, to watch, and to measure on:

    held-out accuracy: mean of ten seeds 0.984, lowest 0.972, highest 0.989
    of the last one: macro F1 0.983, the right digit among the best two 0.997
"""

import numpy as np

import fastnn
from fastnn.datasets import load_digits, split

X, y = load_digits()
X /= 16


def train(seed):
    """Return what a network of this seed scores on samples that it has not seen."""
    rng = np.random.default_rng(seed)
    rest, test = split(len(X), 0.2, rng=rng, labels=y)
    chosen, watched = (rest[part] for part in split(len(rest), 0.15, rng=rng, labels=y[rest]))
    layers = [
        fastnn.Dense(64, 256, rng=rng), fastnn.ReLU(), fastnn.Dropout(0.5),
        fastnn.Dense(256, 10, rng=rng),
    ]  # fmt: skip
    model = fastnn.Sequential(layers)
    steps = 150 * -(-len(chosen) // 32)
    model.fit(
        X[chosen], y[chosen], epochs=150, batch_size=32, seed=rng,
        validation_data=(X[watched], y[watched]),
        optimizer=fastnn.AdamW(fastnn.CosineRate(0.003, steps=steps, warm_up=50)),
        callbacks=[fastnn.EarlyStopping("val_loss", patience=30)],
    )  # fmt: skip
    return model.evaluate(X[test], y[test], metrics=["f1", "top_2"])


scores = [train(seed) for seed in range(10)]
right = [score["accuracy"] for score in scores]
print(
    f"held-out accuracy: mean of ten seeds {np.mean(right):.3f}, "
    f"lowest {min(right):.3f}, highest {max(right):.3f}"
)
last = scores[-1]
print(
    f"of the last one: macro F1 {last['f1']:.3f}, "
    f"the right digit among the best two {last['top_2']:.3f}"
)
