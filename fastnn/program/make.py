"""The trainer of a network: compiled, or layer by layer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..nn.optimizer import Optimizer
from .compiled import CompiledTrainer
from .layerwise import LayerTrainer
from .threads import ThreadTeam
from .trainer import Data, compiles

if TYPE_CHECKING:
    from ..run.request import Trainable


def make_trainer(
    model: Trainable,
    data: Data,
    n_used: int,
    batch_size: int,
    optimizer: Optimizer,
    team: ThreadTeam,
    made_for: tuple[Any, ...],
) -> CompiledTrainer | LayerTrainer:
    """Return the trainer of a model: compiled where all layers, and the optimizer, are known.

    `made_for` is what `describe_layers` gave when `data` was checked.
    """
    trainer: CompiledTrainer | LayerTrainer
    if compiles(model, optimizer):
        trainer = model._compiled_trainer(team, data, n_used, batch_size, optimizer)
    else:
        trainer = LayerTrainer(model, data, n_used, batch_size, optimizer)
    trainer.model, trainer.made_for = model, made_for
    trainer.check_model()
    return trainer
