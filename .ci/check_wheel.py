"""Check a wheel's contents, and that it works where there is nothing but the wheel."""

import sys
import zipfile
from importlib import metadata, resources
from pathlib import Path

wheel = Path(sys.argv[1])
names = zipfile.ZipFile(wheel).namelist()
tops = {name.split("/")[0] for name in names}
assert tops == {"fastnn", next(top for top in tops if top.endswith(".dist-info"))}, tops
for wanted in (
    "fastnn/__init__.py",
    "fastnn/cli/__init__.py",
    "fastnn/cli/train.py",
    "fastnn/py.typed",
    "fastnn/data/digits.npz",
    "fastnn/data/DIGITS.md",
    "fastnn/kernels/tile.py",
    "fastnn/kernels/README.md",
    "fastnn/nnfs/model.py",
):
    assert wanted in names, f"{wanted} is missing from {wheel.name}"
assert any(name.endswith("licenses/LICENSE") for name in names), "the licence is missing"
assert wheel.stat().st_size < 1_000_000, f"{wheel.name} has {wheel.stat().st_size} bytes"

import fastnn  # noqa: E402
from fastnn.datasets import load_digits  # noqa: E402

assert "site-packages" in fastnn.__file__, fastnn.__file__
assert fastnn.__version__ == metadata.version("fastnn-numba")
assert resources.files("fastnn").joinpath("py.typed").is_file()
message = ""
try:
    fastnn.MLPClassifier  # noqa: B018 (scikit-learn is not there)
except ImportError as error:
    message = str(error)
assert message.endswith('scikit-learn: pip install "scikit-learn>=1.6"'), message
X, y = load_digits()
model = fastnn.Sequential([fastnn.Dense(64, 32, rng=0), fastnn.ReLU(), fastnn.Dense(32, 10, rng=1)])
history = model.fit(X / 16, y, epochs=10, optimizer=fastnn.SGD(learning_rate=0.1), seed=0)
assert history.accuracy[-1] > 0.9, history
print(f"{wheel.name}: {len(names)} files, {wheel.stat().st_size // 1024} KiB, {history}")
