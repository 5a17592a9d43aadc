"""Handwritten digits with dropout, early stopping and a cosine schedule, from ten seeds, and more.

Each seed has its own split into samples to train on, to watch, and to measure on:

    held-out accuracy: mean of ten seeds 0.984, lowest 0.972, highest 0.989
    of the last one: macro F1 0.983, the right digit among the best two 0.997

Then the rest of what `fit` knows, in one run: normalization, smoothed labels, weights of classes, a
metric and a callback of one's own, a log, and a checkpoint, from which the run goes on when it has
been broken off. It ends with the bits of a run that was not, and so does a model in a file:

    epoch 1: held-out accuracy 0.95
    epoch 5: held-out accuracy 0.98
    broken off after 12 epochs, resumed: 30 epochs in the log, the same bits: True
    from the file, divided by 16: the same probabilities: True
    held-out accuracy 0.983, macro F1 0.983
"""

from pathlib import Path

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

train_part, test_part = split(len(X), 0.2, rng=0, labels=y)


def surest_mistake(y_true, probabilities):
    """How sure the network is where it is most wrong: a metric."""
    wrong = probabilities.argmax(axis=1) != y_true
    return float(probabilities.max(axis=1)[wrong].max()) if wrong.any() else 0.0


class Milestones(fastnn.Callback):
    """Says when held-out accuracy passes a mark for the first time."""

    def __init__(self, marks):
        self.marks = marks

    def on_epoch_end(self, run):
        while self.marks and run.history.val_accuracy[-1] >= self.marks[0]:
            print(f"epoch {run.epoch}: held-out accuracy {self.marks[0]}")
            self.marks = self.marks[1:]


def run_with_everything(path, epochs, resume=None, marks=()):
    """Return a model after so many epochs, of which some may be behind it already."""
    layers = [
        fastnn.Dense(64, 64, rng=0, init="glorot", weights_l2=1e-5), fastnn.BatchNorm(64),
        fastnn.GELU(), fastnn.Dropout(0.3), fastnn.Dense(64, 10, rng=1),
    ]  # fmt: skip
    model = fastnn.Sequential(layers, loss=fastnn.SoftmaxCrossEntropy(label_smoothing=0.05))
    metric = fastnn.Metric(surest_mistake, probabilities=True, higher_is_better=False)
    model.fit(
        X[train_part], y[train_part], epochs=epochs, batch_size=64, seed=0,
        optimizer=fastnn.Adam(fastnn.ReduceOnPlateau(0.01, patience=3), clip_norm=1.0),
        class_weight={**dict.fromkeys(range(10), 1.0), 8: 1.5},  # eights are the hardest
        validation_data=(X[test_part], y[test_part]), metrics=["f1", metric], drop_last=True,
        callbacks=[
            fastnn.Checkpoint(path, every=5), fastnn.CSVLogger("digits.csv"), Milestones(marks)
        ],
        resume=resume,
    )  # fmt: skip
    return model


straight = run_with_everything("straight.safetensors", 30)
run_with_everything("broken.safetensors", 12, marks=(0.95, 0.98))
resumed = run_with_everything("broken.safetensors", 30, resume="broken.safetensors")
same = np.array_equal(straight.parameters, resumed.parameters)
rows = len(Path("digits.csv").read_text().splitlines()) - 1
print(f"broken off after 12 epochs, resumed: {rows} epochs in the log, the same bits: {same}")

resumed.save("digits.safetensors", notes={"pixels": "divided by 16"})
loaded = fastnn.load("digits.safetensors")
same = np.array_equal(loaded.predict_proba(X), straight.predict_proba(X))
print(f"from the file, {loaded.notes['pixels']}: the same probabilities: {same}")
score = loaded.evaluate(X[test_part], y[test_part], metrics=["f1"])
print(f"held-out accuracy {score['accuracy']:.3f}, macro F1 {score['f1']:.3f}")
