"""A network for a device without Python: trained here, written as one file of C99.

Three kinds of movement are told apart by how loud five bands of a sensor are. The file has the
weights and the function `movement_predict`, and allocates nothing: a compiler for the device is
all that it needs.

    right on 0.98 of the readings that it has not seen
    A 5-8-3 classifier, float32: Dense, ReLU, Dense.
    75 numbers, which take 300 bytes
    int movement_predict(const float *x, float *probabilities);
"""

import re
from pathlib import Path

import numpy as np

import fastnn

# How loud the bands are for each kind of movement: at rest, walking, running.
USUAL = np.array([[0.1, 0.1, 0.1, 0.1, 0.1], [0.2, 0.9, 0.5, 0.2, 0.1], [0.3, 0.5, 0.9, 0.8, 0.4]])


def measure(n, rng):
    """Return readings (n, 5) and which movement each belongs to, (n,)."""
    movements = rng.integers(3, size=n)
    return rng.gamma(4.0, USUAL[movements] / 4), movements


rng = np.random.default_rng(0)
X, y = measure(3000, rng)
model = fastnn.Sequential([fastnn.Dense(5, 8, rng=0), fastnn.ReLU(), fastnn.Dense(8, 3, rng=1)])
model.fit(X, y, epochs=20, seed=0, optimizer=fastnn.Adam(0.01))
found = model.evaluate(*measure(3000, rng))
print(f"right on {found['accuracy']:.2f} of the readings that it has not seen")

fastnn.export.to_c(model, "movement.c", prefix="movement")
text = Path("movement.c").read_text()
numbers = re.findall(r"0x[\da-f.]+p[+-]\d+f", text)
print(text.splitlines()[0].removeprefix("/* "))
print(f"{len(numbers)} numbers, which take {4 * len(numbers)} bytes")
print(next(line for line in text.splitlines() if line.startswith("int movement_predict")))
