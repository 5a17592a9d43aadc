"""The trainer of a network: compiled, or layer by layer."""

from __future__ import annotations

from ..nn.optimizer import Optimizer
from .compiled import CompiledTrainer
from .layerwise import LayerTrainer
from .program import Program
from .threads import ThreadTeam
from .trainer import Data, Description


def make_trainer(
    program: Program,
    data: Data,
    n_samples: int,
    batch_size: int,
    optimizer: Optimizer,
    team: ThreadTeam,
    description: Description,
    *,
    stays_packed: bool = False,
) -> CompiledTrainer | LayerTrainer:
    """Return the trainer of a network: compiled where layers, loss and optimizer are known.

    Parameters as of :class:`CompiledTrainer`.
    """
    samples = data, n_samples, batch_size
    trainer: CompiledTrainer | LayerTrainer
    if program.compiles(optimizer):
        trainer = CompiledTrainer(
            program, *samples, optimizer, team, description, stays_packed=stays_packed
        )
    else:
        trainer = LayerTrainer(program, *samples, optimizer, description)
    trainer.check_unchanged()
    return trainer
