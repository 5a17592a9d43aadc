"""The error where a library is missing that only a part of fastnn needs."""

from __future__ import annotations

import re

from . import layout

_DISTRIBUTION = "fastnn-numba"  # what `pyproject.toml` calls it; another project is called fastnn
_NAME = re.compile(r"[\w.-]+")


def missing(needs: str, library: str, extra: str) -> ImportError:
    """Return the error to raise where a library is not installed.

    Parameters
    ----------
    needs : str
        What needs it, and the verb, such as "pictures need".
    library : str
        The name by which it is installed.
    extra : str
        The extra of fastnn that installs it, and says in which versions.
    """
    return ImportError(f'{needs} {library}: pip install "{_find_requirement(library, extra)}"')


def _find_requirement(library: str, extra: str) -> str:
    """Return a library with its versions, such as "onnx>=1.16"; its name alone if unknown."""
    for requirement in _read_extra(extra):
        if _normalized(requirement) == _normalized(library):
            return requirement
    return library


def _normalized(requirement: str) -> str:
    name = _NAME.match(requirement)
    return re.sub(r"[-_.]+", "-", name.group()).lower() if name else ""


def _read_extra(extra: str) -> list[str]:
    """Return the requirements of an extra, without spaces or conditions."""
    # The imports stand here because a library is seldom missing.
    if layout.CHECKOUT is not None:  # the installed version may be another one, or none
        import tomllib

        project = tomllib.loads((layout.CHECKOUT / "pyproject.toml").read_text("utf-8"))["project"]
        return list(project["optional-dependencies"][extra])
    from importlib import metadata

    try:
        lines = metadata.requires(_DISTRIBUTION) or []
    except metadata.PackageNotFoundError:  # the folder was copied, not installed
        return []
    parts = [line.partition(";") for line in lines]
    condition = re.compile(rf"extra\s*==\s*['\"]{re.escape(extra)}['\"]")
    return [re.sub(r"[\s()]", "", each) for each, _, when in parts if condition.search(when)]
