"""Three arms of a spiral, which no straight line separates, and the regions that are learnt.

The script draws `spiral.png` (with the extra `plot`) and prints

    300 points, training accuracy 0.99
"""

import fastnn
from fastnn.datasets import make_spiral
from fastnn.plots import plot_decision_boundary

X, y = make_spiral(100, 3, rng=0)
model = fastnn.Sequential([fastnn.Dense(2, 64, rng=0), fastnn.ReLU(), fastnn.Dense(64, 3, rng=1)])
adam = fastnn.Adam(fastnn.InverseTimeRate(0.05, decay=1e-3))
model.fit(X, y, epochs=300, batch_size=32, seed=0, optimizer=adam, verbose=False)
print(f"{len(X)} points, training accuracy {model.evaluate(X, y)['accuracy']:.2f}")
plot_decision_boundary(model, X, y).figure.savefig("spiral.png", dpi=80)
