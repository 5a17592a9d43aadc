"""The options of the command line, which a configuration file may give too.

It uses the public parts of argparse. jsonargparse and cyclopts can read such files too. But the
program has to work with the five libraries that fastnn needs (`fastnn train digits`), and an error
has to be one line that names the nearest option, which neither of the two does by itself.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import difflib
import io
import math
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NoReturn, TypeAlias

from .. import tables
from ..nn.classes import OPTIMIZERS
from ..program.precision import PRECISIONS
from ..tables import defaults
from ..tables.defaults import RATES
from ..tables.training import ACTIVATIONS
from ..version import __version__
from .export import FORMATS

EXIT_CODES = """\
exit codes: 0 done; 1 training diverged, or the output pipe was closed;
            2 bad input; 3 a mistake in fastnn; 130 interrupted"""


_MISSING = """\
missing values are empty, ?, -, N/A, <NA>, NaN, null, and what --null adds;
in columns of numbers NA and none also, in the target NA also"""


_RAW_ROWS = """\
The table needs the columns that the model was trained on. Other columns are
ignored. Missing values are filled if the model was trained with --missing, and
refused otherwise. A category that was not in the training table counts as none
of the known ones, and a note on standard error names it."""


_MOST_OF_CONFIG = 1_000_000  # bytes
MISSING = ("refuse", "median", "mean")


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ValueError(message)  # argparse would print the usage too


class _Options:
    """A parser or a group of it, and a list of the arguments that its command has."""

    def __init__(self, parser: Any, actions: list[argparse.Action] | None = None) -> None:
        self._parser = parser
        self.actions = [] if actions is None else actions

    def add_argument(self, *names: str, **settings: Any) -> None:
        self.actions.append(self._parser.add_argument(*names, **settings))

    def add_argument_group(self, title: str) -> _Options:
        return _Options(self._parser.add_argument_group(title), self.actions)

    def add_mutually_exclusive_group(self) -> _Options:
        return _Options(self._parser.add_mutually_exclusive_group(), self.actions)

    @property
    def positionals(self) -> list[argparse.Action]:
        """The arguments without a name."""
        return [action for action in self.actions if not action.option_strings]

    @property
    def options(self) -> dict[str, argparse.Action]:
        """The arguments with a name, such as "--seed"."""
        return {name: action for action in self.actions for name in action.option_strings}


Commands: TypeAlias = Mapping[str, _Options]


def parse(argv: list[str]) -> argparse.Namespace:
    """Return the options: those of `argv`, then those of its `--config`, then the defaults."""
    parser, commands = _make_parser()
    if argv and not argv[0].startswith("-") and argv[0] not in commands:
        expected = f"expected {_listed(commands)}{_near(argv[0], commands)}"
        raise ValueError(f"argument COMMAND: invalid choice: {argv[0]!r}, {expected}")
    options = _parse_known(parser, commands, argv)
    if getattr(options, "config", None):
        command = commands[argv[0]]
        tokens, positional = _read_config(options.config, command)
        # The last value of an option wins, but lists of columns would be joined.
        in_argv = {text.partition("=")[0] for text in argv}
        tokens = [text for text in tokens if text.partition("=")[0] not in in_argv]
        options = _parse_known(parser, commands, [argv[0], *tokens, *argv[1:]])
        for name, value in positional.items():
            if getattr(options, name) is None:
                setattr(options, name, value)
    for action in commands[argv[0]].positionals:
        if getattr(options, action.dest) is None:
            raise ValueError(f"the following arguments are required: {action.metavar}")
    return options


def _parse_known(
    parser: argparse.ArgumentParser, commands: Commands, argv: list[str]
) -> argparse.Namespace:
    options, unknown = parser.parse_known_args(argv)
    if unknown:
        known = ["--help", *commands[argv[0]].options] if argv[0] in commands else ()
        wrong = next((each for each in unknown if each.startswith("-")), None)
        hint = _near(wrong.partition("=")[0], known) if wrong else ""
        raise ValueError(f"unrecognized arguments: {' '.join(unknown)}{hint}")
    return options


def _near(name: str, names: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, list(names), n=1, cutoff=0.65)
    return f"; did you mean {close[0]}?" if close else ""


def _listed(names: Iterable[str]) -> str:
    *most, last = names
    return f"{', '.join(most)} or {last}" if most else last


def _read_config(path: str, command: _Options) -> tuple[list[str], dict[str, Any]]:
    """Return (tokens, {positional: value}) of a TOML file of {long name of an option: value}.

    Names may have underscores in place of hyphens, and values with commas may be lists.
    """
    try:
        with open(path, "rb") as file:
            content = file.read(_MOST_OF_CONFIG + 1)  # a device may have no end
        if len(content) > _MOST_OF_CONFIG:
            raise ValueError(
                f"argument --config: {path} has more than {_MOST_OF_CONFIG:,} bytes, "
                "expected options"
            )
        values = tomllib.loads(content.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"argument --config: {path} is not TOML ({error})") from None
    except OSError as error:
        reason = error.strerror or error
        raise ValueError(f"argument --config: {path!r} cannot be read ({reason})") from None
    positionals = {action.dest for action in command.positionals}
    known = {name[2:]: action for name, action in command.options.items() if name != "--config"}
    tokens, positional = [], {}
    for key, value in values.items():
        name = key.replace("_", "-")
        if key in positionals:
            positional[key] = str(value)
        elif name not in known:
            names = [*positionals, *known]
            hint = _near(name, names) or f"; expected some of {', '.join(names)}"
            raise ValueError(f"argument --config: {path} has an unknown name {key!r}{hint}")
        elif known[name].nargs == 0:
            if not isinstance(value, bool):
                raise ValueError(
                    f"argument --config: {path} has {key} = {value!r}, expected true or false"
                )
            tokens += [f"--{name}"] * value
        else:
            text = _joined(value) if isinstance(value, list) else str(value)
            tokens.append(f"--{name}={text}")
    return tokens, positional


# ---------------------------------------------------------------------- the commands


def _make_parser() -> tuple[argparse.ArgumentParser, Commands]:
    parser = _Parser(
        prog="fastnn",
        description="Dense neural networks, fast on a CPU.",
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"fastnn {__version__}")
    group = parser.add_subparsers(metavar="COMMAND", required=True, dest="command")
    commands: dict[str, _Options] = {}

    def add(name: str, text: str, epilog: str | None = None, takes: str = "") -> _Options:
        command = group.add_parser(
            name,
            usage=f"fastnn {name} {takes}[options]",
            help=text,
            description=text[0].upper() + text[1:] + ".",
            epilog=epilog,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        commands[name] = _Options(command)
        return commands[name]

    train = "train a network, and measure it on samples held out"
    _add_train(add("train", train, _defaults(), "DATA "))
    predict = "predict the rows of a table with a saved model"
    _add_predict(add("predict", predict, _RAW_ROWS, "MODEL DATA "))
    evaluate = "measure a saved model on a table with the right answers"
    _add_evaluate(add("evaluate", evaluate, None, "MODEL DATA "))
    export = "write a saved model for another program"
    _add_export(add("export", export, None, "MODEL OUTPUT "))
    _add_common(add("info", "show the machine, the machine code for it, and versions"))
    warmup = add("warmup", "compile all kernels now, so that the first training does not have to")
    _add_dtype(warmup.add_argument)
    _add_precision(warmup.add_argument)
    _add_common(warmup)
    bench = add("bench", "compare the speed of training with that of libraries installed here")
    bench.add_argument("--threads", metavar="N", type=_count, help="for every library")
    _add_common(bench)
    return parser, commands


def _add_train(command: _Options) -> None:
    data = command.add_argument_group("data")
    _add_data(command, data, "digits, spiral, or a table: a path, or - for standard input")
    add = data.add_argument
    add("--target", metavar="COLUMN", help="column to predict; a table needs it")
    task = "classification or regression (default: depends on the target)"
    add("--task", metavar="T", type=_choice("classification", "regression"), help=task)
    _add_columns(add, "--drop", "columns to leave out")
    categorical = "columns whose numbers are names of categories"
    _add_columns(add, "--categorical", categorical)
    marks = "texts that mean a missing value, in addition to ?, NA, N/A, -, null and the like"
    _add_columns(add, "--null", marks)
    decimal = data.add_mutually_exclusive_group().add_argument
    comma = "columns of numbers such as 1,234 have a decimal comma"
    decimal("--decimal-comma", action="store_const", dest="decimal", const=",", help=comma)
    point = "columns of numbers such as 1,234 have commas between thousands"
    decimal("--decimal-point", action="store_const", dest="decimal", const=".", help=point)
    order = data.add_mutually_exclusive_group().add_argument
    day = "the day is first in dates such as 1/2/2024"
    month = "the month is first in dates such as 1/2/2024"
    order("--day-first", action="store_const", dest="day_first", const=True, help=day)
    order("--month-first", action="store_const", dest="day_first", const=False, help=month)
    most = "categories of a column; the rarest others share one feature (default: %(default)s)"
    add("--max-categories", metavar="N", type=_several, default=100, help=most)
    missing = "missing values: refuse them, or fill in the median or mean (default: refuse)"
    add("--missing", metavar="M", type=_choice(*MISSING), default="refuse", help=missing)
    held_out = "fraction of the samples to hold out (default: %(default)s)"
    add("--validation-fraction", metavar="X", type=_fraction, default=0.2, help=held_out)

    add = command.add_argument_group("network").add_argument
    add("--hidden", metavar="N,N", type=_widths, help="neurons of the hidden layers")
    activation = f"{_listed(ACTIVATIONS)} (default: relu)"
    add("--activation", metavar="A", type=_choice(*ACTIVATIONS), default="relu", help=activation)
    dropout = "fraction of the hidden values that each step sets to 0 (default: 0)"
    add("--dropout", metavar="X", type=_rate_of_dropout, default=0.0, help=dropout)
    _add_dtype(add)

    add = command.add_argument_group("training").add_argument
    add("--epochs", metavar="N", type=_count, help="passes over the training samples")
    add("--batch-size", metavar="N", type=_count, help="samples of a gradient step")
    optimizer = f"{_listed(OPTIMIZERS)} (default: adamw)"
    add("--optimizer", metavar="O", type=_choice(*OPTIMIZERS), help=optimizer)
    add(
        "--learning-rate",
        metavar="X",
        type=_rate,
        help="factor of a gradient step (default: see below)",
    )
    decay = "weight decay, with any optimizer (default: see below)"
    add("--weight-decay", metavar="X", type=_decay, help=decay)
    patience = (
        "stop after so many epochs in a row without a better held-out loss, and keep the best; "
        "0 takes all epochs (default: a tenth of the epochs)"
    )
    add("--patience", metavar="N", type=_count_or_0, help=patience)
    parts = "also measure the settings by cross-validation with N parts"
    add("--cv", metavar="N", type=_count_of_parts, help=parts)
    final = "save a network that is trained on all rows, for the best number of epochs"
    add("--final", action="store_true", help=final)
    balanced = "weigh samples so that every class counts the same"
    add("--balanced", action="store_true", help=balanced)
    seed = "the same seed gives the same numbers (default: %(default)s)"
    add("--seed", metavar="N", type=_seed, default=0, help=seed)
    add("--threads", metavar="N", type=_count, help="default: chosen by the amount of work")
    _add_precision(add)

    outputs = command.add_argument_group("output")
    add = outputs.add_argument
    save = "write the model with its preprocessing, as .safetensors"
    add("--save", metavar="PATH", help=save)
    add("--plot", metavar="PATH", help="write a page of pictures: .png, .pdf or .svg")
    _add_common(outputs)


def _add_predict(command: _Options) -> None:
    _add_model(command)
    _add_data(command, command, "digits, spiral, or a table: a path, or - for standard input")
    add = command.add_argument
    add("--probabilities", action="store_true", help="add a column for each class")
    _add_columns(add, "--keep", "columns to copy to the output")
    _add_precision(add)
    output = "write .csv, .tsv, .jsonl or .parquet (default: CSV on standard output)"
    add("-o", "--output", metavar="PATH", help=output)
    _add_common(command, "print JSON lines")


def _add_evaluate(command: _Options) -> None:
    _add_model(command)
    _add_data(command, command, "digits, spiral, or a table with the target in it")
    plot = "write a page of pictures: .png, .pdf or .svg"
    command.add_argument("--plot", metavar="PATH", help=plot)
    _add_precision(command.add_argument)
    _add_common(command)


def _add_export(command: _Options) -> None:
    _add_model(command)
    endings = _listed([each.suffix for each in FORMATS.values()])
    command.add_argument(
        "output", metavar="OUTPUT", nargs="?", help=f"a path that ends in {endings}"
    )
    to = f"{_listed(FORMATS)} (default: as OUTPUT ends)"
    command.add_argument("--to", metavar="FORMAT", type=_choice(*FORMATS), help=to)
    _add_common(command)


def _add_model(command: _Options) -> None:
    # Not required here: a configuration file may give it.
    command.add_argument("model", metavar="MODEL", nargs="?", help="what train --save has written")


def _add_data(command: _Options, group: _Options, text: str) -> None:
    command.add_argument("data", metavar="DATA", nargs="?", help=text)
    add = group.add_argument
    kinds = f"{_listed(tables.KINDS)} (default: as the name ends, or the file begins)"
    add("--format", metavar="F", type=_choice(*tables.KINDS), help=kinds)
    separator = "between the values of a CSV file (default: the one that all lines have)"
    add("--separator", metavar="C", type=_character, help=separator)
    encoding = "of a CSV or JSON file, as in latin-1, utf-16 (default: utf-8)"
    add("--encoding", metavar="E", type=_encoding, help=encoding)
    header = "the first line of a CSV file or sheet is a row: name the columns column_1, ..."
    add("--no-header", action="store_true", help=header)
    sheet = "of an Excel file (default: the first one)"
    add("--sheet", metavar="NAME", help=sheet)
    limit = "read larger Parquet files in parts, as in 500MB or 2GB (default: by the memory)"
    add("--max-memory", metavar="SIZE", type=_size, help=limit)


def _add_columns(add: Callable[..., Any], name: str, text: str) -> None:
    # An option that is repeated adds to the list: an error may name one to add.
    add(name, metavar="A,B", type=_names, action="extend", default=[], help=text)


def _add_dtype(add: Callable[..., Any]) -> None:
    dtype = "float32 or float64 (default: %(default)s)"
    add("--dtype", metavar="T", type=_choice("float32", "float64"), default="float32", help=dtype)


def _add_precision(add: Callable[..., Any]) -> None:
    precision = f"of matrix products: {_listed(PRECISIONS)} (default: FASTNN_PRECISION, or highest)"
    add("--precision", metavar="P", type=_choice(*PRECISIONS), help=precision)


def _add_common(group: _Options, json: str = "print one JSON object") -> None:
    add = group.add_argument
    add("--json", action="store_true", help=f"{json}, for scripts; errors go to standard error")
    add("--config", metavar="FILE", help="options from a TOML file; those given here win")
    add("--debug", action="store_true", help="show where an error comes from")


def _defaults() -> str:
    lines = [
        "defaults for tables, by the rows to train on (digits and spiral have their own):",
        "       rows   hidden  epochs  batch size  weight decay",
    ]
    for n_rows in (100, 1_000, 10_000, 100_000, 1_000_000):
        settings = defaults.settings_for("", n_rows)
        widths = ",".join(map(str, settings.hidden))
        lines.append(
            f"  {n_rows:>9,}{widths:>9}{settings.epochs:>8}{settings.batch_size:>12}"
            f"{settings.weight_decay:>14g}"
        )
    rates = ", ".join(f"{name} {rate:g}" for name, rate in RATES.items())
    lines += ["", "learning rates:", f"  {rates}"]
    return "\n".join([*lines, "", _MISSING, "", EXIT_CODES])


# ---------------------------------------------------------------------- kinds of values


def _argument(
    convert: Callable[[str], Any], accepts: Callable[[Any], bool], expected: str
) -> Callable[[str], Any]:
    """Return an argparse type: `convert(text)`, if that succeeds and `accepts` returns True."""

    def argument(text: str) -> Any:
        with contextlib.suppress(ValueError):
            if accepts(value := convert(text)):
                return value
        raise argparse.ArgumentTypeError(f"{text!r} is not {expected}")

    return argument


def _choice(*names: str) -> Callable[[str], str]:
    """Return an argparse type that takes one of `names`."""

    def choice(text: str) -> str:
        if text in names:
            return text
        expected = f"expected {_listed(names)}{_near(text, names)}"
        raise argparse.ArgumentTypeError(f"invalid choice: {text!r}, {expected}")

    return choice


def _names(text: str) -> list[str]:
    """Return the names in "A,B". A name with a comma is in quotes: 'A,"B,C"'."""
    names = next(csv.reader(io.StringIO(text), skipinitialspace=True), [])
    return [name for name in names if name.strip()]


def _joined(values: Iterable[Any]) -> str:
    """Return the text that `_names` reads as these values."""
    text = io.StringIO()
    csv.writer(text, quoting=csv.QUOTE_NONNUMERIC, lineterminator="").writerow(values)
    return text.getvalue()


_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?(?:e[0-9]+)?)\s*(?:([kmgt])(i?))?b?")


def _read_size(text: str) -> int:
    """Return the bytes of "500MB", "2 GiB" or "1e9"; ValueError for another text."""
    match = _SIZE.fullmatch(text.strip().lower())
    if match is None or not math.isfinite(number := float(match[1])):
        raise ValueError(text)
    power = "kmgt".find(match[2]) + 1 if match[2] else 0
    return int(number * (1024 if match[3] else 1000) ** power)


_size = _argument(_read_size, lambda n: n >= 1, "a size above 0, as in 500MB or 2GB")
_count = _argument(int, lambda n: n >= 1, "a whole number of at least 1")
_several = _argument(int, lambda n: n >= 2, "a whole number of at least 2")
_count_or_0 = _argument(int, lambda n: n >= 0, "a whole number of at least 0")
_count_of_parts = _argument(int, lambda n: n >= 2, "a whole number of at least 2")
_decay = _argument(float, lambda x: 0 <= x < math.inf, "a finite number of at least 0")
_seed = _argument(int, lambda n: n >= 0, "a whole number of at least 0")
_rate = _argument(float, lambda x: 0 < x < math.inf, "a finite number above 0")
_fraction = _argument(float, lambda x: 0 < x < 1, "a number between 0 and 1")
_rate_of_dropout = _argument(float, lambda x: 0 <= x < 1, "a number of at least 0 and below 1")
_character = _argument(
    lambda text: {r"\t": "\t", "tab": "\t"}.get(text, text),
    lambda text: len(text.encode()) == 1,
    "a single character",
)


def _encoding(text: str) -> str:
    """Return the name of an encoding of text."""
    with contextlib.suppress(LookupError, ValueError):
        bytes(4).decode(text, "replace")  # raises for codecs of other things than text too
        return text
    expected = f"expected {_listed(_ENCODINGS)} or another that Python knows"
    raise argparse.ArgumentTypeError(f"{text!r}, {expected}{_near(text.lower(), _ENCODINGS)}")


_ENCODINGS = (
    "utf-8", "latin-1", "cp1252", "utf-16", "utf-16-le", "utf-16-be", "iso-8859-15", "cp1250",
    "cp1251", "cp437", "mac-roman", "shift-jis", "gb18030", "big5", "euc-kr",
)  # fmt: skip
_widths = _argument(
    lambda text: tuple(map(int, text.split(","))),
    lambda widths: min(widths) >= 1,
    "a list of whole numbers of at least 1, as in 64,64",
)
