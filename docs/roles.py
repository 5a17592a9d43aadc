"""Docstrings say :class:`Dense`, as numpydoc has it; the site makes links of it."""

import re
from pathlib import Path

import griffe

_ROLE = re.compile(r":(?:class|func|meth|mod):`~?([\w.]+)`")
_REFERENCE = "".join(
    path.read_text(encoding="utf-8") for path in Path(__file__).parent.glob("api/*.md")
)
_NAMES = re.findall(r"^::: ([\w.]+)$", _REFERENCE, re.MULTILINE)


def _link(match):
    """Return a link to the entry of the reference with this name, or plain code where none is."""
    name = match[1]
    first, _, rest = name.removeprefix("fastnn.").partition(".")
    found = [each for each in _NAMES if each == name or each.rpartition(".")[2] == first]
    if not found:
        return f"`{name}`"
    target = min(found, key=len)
    return f"[`{name}`][{target}{'.' + rest if rest and target != name else ''}]"


class Roles(griffe.Extension):
    """Replaces the roles in all docstrings."""

    def on_instance(self, *, obj, **_):
        if obj.docstring:
            obj.docstring.value = _ROLE.sub(_link, obj.docstring.value)
