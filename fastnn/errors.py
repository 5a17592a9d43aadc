"""Errors and warnings of fastnn's own."""


class SlowTrainingWarning(UserWarning):
    """A network trains layer by layer, because something in it cannot be compiled."""


class NonFiniteLossError(ArithmeticError):
    """Training diverged: a loss or a parameter is no longer a finite number.

    The model keeps the parameters of the last good epoch.

    Attributes
    ----------
    epoch, batch : int
        Where it happened, counted from 1.
    history : History
        The curves of the epochs before.
    """

    def __init__(self, epoch, batch, history=None):
        self.epoch, self.batch, self.history = epoch, batch, history
        super().__init__(
            f"the loss is no longer finite in epoch {epoch}, batch {batch}; the parameters are "
            f"those at the end of epoch {epoch - 1} (0: before training). "
            "A smaller learning_rate or standardised features usually help"
        )

    def __reduce__(self):
        return type(self), (self.epoch, self.batch, self.history)


class FileFormatError(ValueError):
    """A file is not what fastnn writes, or not whole.

    Attributes
    ----------
    path : pathlib.Path
    problem : str
        What is wrong with it.
    """

    def __init__(self, path, problem):
        self.path, self.problem = path, problem
        super().__init__(f"{path} {problem}")

    def __reduce__(self):
        return type(self), (self.path, self.problem)
