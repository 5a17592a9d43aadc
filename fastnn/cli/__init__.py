"""The command `fastnn`: train a network on a table, and use it."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import re
import sys
import traceback
from collections.abc import Iterable
from typing import Any

from ..run.compilation import note_compilation
from ..run.errors import NonFiniteLossError
from .arguments import parse
from .terminal import harmless

_MODULES = {
    "train": "train",
    "predict": "predict",
    "evaluate": "evaluate",
    "export": "export",
    "info": "machine",
    "warmup": "machine",
    "bench": "bench",
}
_MOST_SHOWN = 4_000  # characters of an error: names and values may be as long as a file
_BAD_INPUT = ValueError, OSError, ImportError, MemoryError
_KINDS = {1: "diverged", 2: "bad input", 3: "mistake in fastnn", 130: "interrupted"}


def main(argv: Iterable[str] | None = None) -> int:
    """Run the command with the arguments `argv`, by default those of the process.

    Without arguments it shows its help.

    Returns
    -------
    int
        The exit code: 0, 1 where training diverges or the output pipe is closed, 2 for bad input,
        3 for a mistake in fastnn, 130 for Ctrl-C. With `--json` an error is one JSON object, the
        last line of standard error.
    """
    argv = (sys.argv[1:] if argv is None else list(argv)) or ["--help"]
    _open_streams()
    # A character that the terminal cannot show becomes a question mark.
    with contextlib.suppress(AttributeError):
        stream: Any = sys.stdout
        stream.reconfigure(errors="replace")
    # Also if the arguments are wrong.
    debug, as_json = "--debug" in argv, "--json" in argv
    try:
        options = parse(argv)
        debug, as_json = options.debug, options.json
        module = importlib.import_module(f".{_MODULES[options.command]}", __name__)
        with note_compilation():
            module.run(options)
        sys.stdout.flush()
        return 0
    except NonFiniteLossError as error:
        return _fail(1, str(error), debug, as_json)
    except BrokenPipeError:  # as in `fastnn train digits | head -1`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except _BAD_INPUT as error:
        return _fail(2, str(error) or type(error).__name__, debug, as_json)
    except KeyboardInterrupt:
        return _fail(130, "interrupted", debug, as_json)
    except Exception as error:
        text = f"{type(error).__name__}: {error} (a mistake in fastnn; --debug shows where)"
        return _fail(3, text, debug, as_json)


def _open_streams() -> None:
    """Open the null device in place of a stream that the shell has closed, as `>&-` does."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w"))


def _fail(code: int, message: str, debug: bool, as_json: bool) -> int:
    if debug:
        traceback.print_exc()
    # Blanks stay: the message may show an option with a column name, for the user to paste.
    line = re.sub(r"\s*[\t\n\v\f\r]\s*", " ", message.strip())
    if len(line) > _MOST_SHOWN:
        line = f"{line[:_MOST_SHOWN]} ..."
    line = harmless(line)
    if as_json:
        values = {"error": line, "kind": _KINDS[code], "exit_code": code}
        line = json.dumps(values, ensure_ascii=False)
    else:
        line = f"fastnn: {line}" if code == 130 else f"fastnn: error: {line}"
    print(line, file=sys.stderr)
    return code
