"""A training run: checks of a call, epochs, callbacks, history, checkpoints, evaluation."""
