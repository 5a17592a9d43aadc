"""The two pictures: speed against the width of a network, fraction of peak against size."""

from networks import Network
from report import Table, digits, percent
from rounds import Library

_WIDTHS = (16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024)
_BATCH = 64
# Powers of two, where rows compete for the same sets of the caches, and sizes between them.
_SIZES = (16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048)


def speed_by_width(bench):
    """Return (table, curves): step times as multiples of fastnn's default."""
    base = bench.default
    libraries = list(dict.fromkeys([Library("fastnn", 1), *bench.libraries("numpy", "torch")]))
    curves = {library: [] for library in libraries}
    rows = []
    for width in _WIDTHS:
        # An epoch of about 20 ms at 100 GFLOP/s, and of at most 19,200 samples.
        one = Network((64, width, width, 10), _BATCH, steps=1)
        network = one._replace(steps=int(min(300, max(10, 2e9 / one.operations))))
        task = {"kind": "train", "sizes": network.sizes, "batch": _BATCH, "steps": network.steps}
        measured = bench.measure(task, libraries, base)
        cells = []
        for library in libraries:
            if library in measured:
                curves[library].append((width, measured.ratio(library, base)))
            cells.append(f"{curves[library][-1][1]:.2f}" if library in measured else "-")
        rows.append((str(width), digits(measured.median(base) * 1e6), *cells))
    table = Table(
        "Speed against width",
        f"64-width-width-10, batch {_BATCH}: microseconds a training step with fastnn's default, "
        "and the time of the others as a multiple of it.",
        ("width", "fastnn", *(_label(library) for library in libraries)),
        rows,
    )
    return table, {_label(library): points for library, points in curves.items() if points}


def _label(library):
    return "fastnn, 1 thread" if library == Library("fastnn", 1) else library.title


def peak_by_size(bench):
    """Return (table, curves): the forward product of square matrices, one core."""
    base, peak = Library("fastnn", 1), Library("peak", 1)
    libraries = [base, *bench.libraries("numpy", "torch", threads=1)]
    curves = {library: [] for library in libraries}
    rows = []
    for size in _SIZES:
        task = {"kind": "product", "operation": "forward", "shape": (size,) * 3}
        measured = bench.measure(task, [*libraries, peak], base)
        cells = []
        for library in libraries:
            if library in measured:
                curves[library].append((size, 2 * size**3 * measured.ratio(peak, library)))
            cells.append(percent(curves[library][-1][1]) if library in measured else "-")
        rows.append((str(size), *cells))
    table = Table(
        "Fraction of peak against size",
        "`inputs @ weights` of square matrices, float32, one core, each call on the same arrays.",
        ("size", *(library.title for library in libraries)),
        rows,
    )
    return table, {library.title: points for library, points in curves.items() if points}
