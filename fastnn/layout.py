"""Where the package is: installed, or in a checkout, which has the folder `kernels` beside it.

Python that is started in the root of a checkout imports `./fastnn`, whatever else is installed.
There `fastnn.kernels` is the folder `kernels` of the root, as `pyproject.toml` says. The import
system would look for it in `fastnn`, or in another copy that is installed.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_file_location
from pathlib import Path
from types import ModuleType

_NAME = f"{__package__}.kernels"
_KERNELS_APART = '"fastnn.kernels" = "kernels"'  # in pyproject.toml


def _find_checkout(folder: Path) -> Path | None:
    """Return the root of the checkout that the package in `folder` belongs to, or None."""
    if (folder / "kernels" / "__init__.py").is_file():
        return None
    root = folder.parent
    try:
        is_ours = _KERNELS_APART in (root / "pyproject.toml").read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None
    # A folder `kernels` in site-packages may be another project's.
    return root if is_ours and (root / "kernels" / "__init__.py").is_file() else None


class _KernelsFinder:
    """Finds `fastnn.kernels` for the package of one checkout, and nothing else."""

    def __init__(self, folder: str, root: Path) -> None:
        self._folder, self._file = folder, root / "kernels" / "__init__.py"

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        # A process may import one copy of fastnn after another.
        if name != _NAME or path is None or self._folder not in path:
            return None
        return spec_from_file_location(name, self._file)


_FOLDER = os.path.dirname(__file__)  # as in `fastnn.__path__`
CHECKOUT = _find_checkout(Path(_FOLDER).resolve())  # the folder may be a link
"""The root of the checkout that this package is imported from; None where it is installed."""

if CHECKOUT is not None:
    # First in the list: the finder of an editable install may know another checkout.
    sys.meta_path.insert(0, _KernelsFinder(_FOLDER, CHECKOUT))
