"""Records that the compiler knows are read as those in memory."""

import contextlib

import numba
import numpy as np
import pytest
import specialized
from specialized import Records, measure, table

from fastnn.kernels.records import empty_layers


@numba.njit
def widths(layers):
    total = 0
    for index in range(len(layers)):
        total = 100 * total + layers[index].n_inputs
    return total + layers[len(layers) - 1].parameter


@pytest.mark.parametrize("n_inputs", [[7], [3, 5], [5, 3], [1, 2, 3, 4]])
def test_constant_records_have_the_numbers_of_those_in_memory(n_inputs):
    layers = empty_layers(len(n_inputs))
    layers["n_inputs"], layers["parameter"][-1] = n_inputs, 0.25
    known = Records(layers)
    layers["n_inputs"] = -1  # a copy in the type, not a view
    expected = int("".join(f"{each:02d}" for each in n_inputs)) + 0.25
    assert widths(known) == expected
    layers["n_inputs"] = n_inputs
    assert widths(layers) == expected


def test_a_program_that_gives_other_parameters_is_refused(monkeypatch):
    monkeypatch.setattr(specialized, "_program", lambda kind, n: contextlib.nullcontext(kind))
    answers = {"general": ([1.0, 1.0], ["a", "b"]), "specialized": ([9.0, 19.0], ["a", "c"])}
    monkeypatch.setattr(specialized, "_read", answers.get)
    with pytest.raises(SystemExit, match="2-64-3, Adam: the two programs"):
        measure(1, 1)
    answers["specialized"] = [9.0, 19.0], ["a", "b"]
    times = iter(np.array([[4e-6, 2e-6], [3e-6, 1e-6]] * 3))
    monkeypatch.setattr(specialized, "_ask", lambda _: next(times))
    results = measure(1, 3)
    assert results == {"2-64-3, SGD": (3e-6, 0.75, 9.0), "2-64-3, Adam": (1e-6, 0.5, 19.0)}
    assert table(results).rows == [("2-64-3, SGD", "3.00", "0.75", "9.00"),
                                   ("2-64-3, Adam", "1.00", "0.50", "19.0")]  # fmt: skip
