"""Predictions of the compiled program: a few rows directly, many in blocks and on threads."""

from __future__ import annotations

import contextlib
import functools
from collections import deque
from collections.abc import Iterator
from typing import Any, TypeAlias

import numpy as np

from .. import kernels
from ..kernels.catalogue import is_basic
from ..kernels.target import BLOCK_ROWS, FEW_ROWS, SHARED_ROWS
from ..memory import aligned_empty
from ..types import Array, Floats, Steps
from .plan import Operands, make_plan
from .precision import unit_of_cpu
from .samples import Samples
from .threads import ThreadTeam, resolve_threads, with_team

Packed: TypeAlias = tuple[Floats, Array | None]

_NO_OPERANDS = np.empty(0, np.uint16)

# Multiply-adds of a run of rows, at least: some 0.2 ms, beside which a call of a kernel is short.
_RUN_WORK = 20_000_000


def split_rows(count: int, row_work: int, threads: int) -> Iterator[tuple[int, int]]:
    """Yield (begin, end): the runs of rows that threads take one after the other.

    The first ones are long, as each run is a call of a kernel. The last ones are short: so all
    threads end at about the same time, even where one of them has to share its core.
    """
    least = -(-_RUN_WORK // (max(row_work, 1) * SHARED_ROWS)) * SHARED_ROWS
    least = min(least, -(-count // threads)) if threads > 1 else count
    begin = 0
    while begin < count:
        share = (count - begin) // (2 * threads) // BLOCK_ROWS * BLOCK_ROWS
        end = min(begin + max(share, least), count)
        yield begin, end
        begin = end


def drain(runs: deque[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Yield runs until none is left; several threads may do so at once."""
    with contextlib.suppress(IndexError):
        while True:
            yield runs.popleft()


class Predictor:
    """Runs rows through a network of built-in layers.

    `steps` comes from `plan.program_layers`. Every call reads `parameters`. If `frozen`, the
    weights are packed once and later changes have no effect.
    """

    def __init__(
        self,
        steps: Steps,
        n_inputs: int,
        parameters: Floats,
        *,
        frozen: bool = False,
        operands: Operands | None = None,
    ) -> None:
        self.n_inputs, self.parameters, self.dtype = n_inputs, parameters, parameters.dtype
        plan = make_plan(
            steps, n_inputs, BLOCK_ROWS, self.dtype.itemsize, training=False, operands=operands
        )
        self.tiles = plan.tiles
        self.layers = plan.layers
        self.columns = plan.columns
        self.extended: Any = None if all(map(is_basic, plan.operations)) else True
        if plan.columns is not None:
            self.extended = plan.columns
        self.n_outputs = int(plan.layers["n_outputs"][-1])
        self.few_size, self.many_size = plan.few_size, plan.workspace_size
        self._panels_size = plan.panels_size
        self.packed: Packed | None = None
        if frozen:
            self.packed = self._pack()

    @property
    def categories(self) -> dict[int, int]:
        """{column: number of categories} of the columns of the inputs that have codes."""
        if self.columns is None:
            return {}
        counts = self.columns["n_categories"].tolist()
        return {column: count for column, count in enumerate(counts) if count}

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "packed": self.packed is not None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        # The layout of packed weights and the unit are those of the CPU, which may be another one.
        if self.tiles is not None:
            self.layers["unit"][self.layers["parts"] > 0] = unit_of_cpu().code
        self.packed = self._pack() if state["packed"] else None

    def _pack(self) -> Packed:
        """Return the packed weights: panels, and tiles or None."""
        panels, tiles = aligned_empty(self._panels_size, self.dtype), None
        if self.tiles is not None:
            tiles = aligned_empty(self.tiles[0], np.uint16)
        operands = None if tiles is None else (tiles, _NO_OPERANDS)
        kernels.pack_network(panels, self.layers, operands, self.parameters)
        return panels, tiles

    def run_few(self, rows: Any, finish: int) -> Floats | None:
        """Return the outputs of a few rows, with `finish` applied; None if `rows` needs checks.

        It needs none if it is a plain array of the right dtype with at most `FEW_ROWS` finite rows.
        """
        if (
            self.tiles is not None  # their kernel takes blocks
            or type(rows) is not np.ndarray
            or rows.dtype != self.dtype
            or rows.ndim != 2
            or not 0 < len(rows) <= FEW_ROWS
            or rows.shape[1] != self.n_inputs
            or not rows.flags.carray  # contiguous, aligned, writeable
        ):
            return None
        outputs = np.empty((len(rows), self.n_outputs), self.dtype)
        workspace = np.empty(self.few_size, self.dtype)
        n_predicted = kernels.predict_few(
            outputs, workspace, self.layers, self.extended, self.parameters, rows, finish
        )
        return outputs if n_predicted == len(rows) else None

    def run(self, rows: Samples | Floats, finish: int, threads: int | None) -> Floats | None:
        """Return the outputs of checked rows, with `finish` applied; None if one is not finite.

        `rows`: an array as the kernels take it, or :class:`Samples`, converted in blocks.
        """
        samples = rows if isinstance(rows, Samples) else Samples(rows, self.dtype)
        threads = resolve_threads(threads, len(rows) * self.parameters.size)
        if 0 < len(rows) <= FEW_ROWS and self.tiles is None:
            return self.run_few(samples.take(np.arange(len(rows))), finish)
        outputs = np.empty((len(rows), self.n_outputs), self.dtype)
        panels, weight_tiles = self._pack() if self.packed is None else self.packed

        def predict(
            team: ThreadTeam, runs: deque[tuple[int, int]], finite: list[bool], thread: int
        ) -> None:
            # Each thread has a workspace of its own.
            workspace, tiles = aligned_empty(self.many_size, self.dtype), None
            if self.tiles is not None:
                tiles = weight_tiles, aligned_empty(self.tiles[1], np.uint16)
            finite[thread] = all(
                len(block) == kernels.predict_rows(
                    outputs[first : first + len(block)], workspace, panels, self.layers,
                    self.extended, tiles, self.parameters, block, BLOCK_ROWS, finish,
                )
                for run in drain(runs)
                for first, block in samples.blocks(*run)
                if not team.interruption.requested
            )  # fmt: skip

        def work(team: ThreadTeam) -> bool:
            finite = [False] * team.size
            runs = deque(split_rows(len(rows), self.parameters.size, team.size))
            team.run(functools.partial(predict, team, runs, finite))
            return all(finite)

        return outputs if with_team(min(threads, max(len(rows), 1)), work) else None
