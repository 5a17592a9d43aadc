"""What is done to docstrings before the site shows them: an extension of griffe.

A role of numpydoc, such as :class:`Dense`, becomes a link. griffe takes types with commas for
tuples. Powers are written with two stars, which Markdown takes for bold text.
"""

import re
from pathlib import Path

import griffe

_POWER = re.compile(r"(?<=[\w)])\*\*(?=[\w(])")
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


def _keep_powers(text):
    """Return a docstring whose x**2 stay so: in Markdown two of them make bold text."""
    lines = text.splitlines(keepends=True)
    for i, line in enumerate(lines):
        if not line.lstrip().startswith((">>>", "...")):
            words = line.split("`")  # every other one is code
            words[::2] = [_POWER.sub(r"\*\*", word) for word in words[::2]]
            lines[i] = "`".join(words)
    return "".join(lines)


class PlainTypes(griffe.Docstring):
    """A docstring whose lists of types, such as "TypeError, ValueError", have no parentheses."""

    def parse(self, *arguments, **options):
        """Return the sections."""
        sections = super().parse(*arguments, **options)
        for section in sections:
            for each in section.value if isinstance(section.value, list) else ():
                if isinstance(getattr(each, "annotation", None), griffe.ExprTuple):
                    each.annotation.implicit = True
        return sections


class Docstrings(griffe.Extension):
    """Replaces the roles in all docstrings, and shows types as they are written."""

    def on_instance(self, *, obj, **_):
        if obj.docstring:
            obj.docstring.value = _ROLE.sub(_link, _keep_powers(obj.docstring.value))
            obj.docstring.__class__ = PlainTypes
