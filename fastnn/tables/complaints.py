"""All that is wrong with a table in one error, so that one run shows it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

_MOST_SHOWN = 20


class Complaints:
    """The messages of the errors that `collect` has caught."""

    def __init__(self) -> None:
        self.messages: list[str] = []
        self.columns: set[str] = set()
        """Columns with a fault, which need no second message."""

    @contextlib.contextmanager
    def collect(self, column: str | None = None) -> Iterator[None]:
        """Keep the message of a ValueError in place of raising it."""
        try:
            yield
        except ValueError as error:
            if column is not None:
                self.columns.add(column)
            if str(error) not in self.messages:
                self.messages.append(str(error))

    def check(self) -> None:
        """Raise one ValueError with all messages, where there are any."""
        count = len(self.messages)
        if count:
            shown = self.messages[:_MOST_SHOWN] + ["..."] * (count > _MOST_SHOWN)
            raise ValueError(f"{count} faults: " * (count > 1) + " | ".join(shown))


def collecting(
    complaints: Complaints | None, column: str
) -> contextlib.AbstractContextManager[None]:
    """Return `complaints.collect(column)`, or with None a context that lets errors pass."""
    return contextlib.nullcontext() if complaints is None else complaints.collect(column)
