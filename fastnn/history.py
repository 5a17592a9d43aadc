"""What a training run leaves behind: one value an epoch in each curve."""


class History:
    """The curves of a training run.

    Attributes
    ----------
    loss, accuracy : list of float
        Mean over the samples of the epoch, each as its batch met it.
    val_loss, val_accuracy : list of float
        On the validation data after the epoch; empty without any.
    """

    def __init__(self):
        self.loss = []
        self.accuracy = []
        self.val_loss = []
        self.val_accuracy = []

    def append(self, training, validation=None):
        """Add one epoch, given as the dicts that `evaluate` returns."""
        self.loss.append(training["loss"])
        self.accuracy.append(training["accuracy"])
        if validation is not None:
            self.val_loss.append(validation["loss"])
            self.val_accuracy.append(validation["accuracy"])

    def latest(self):
        """Return the curves' names with the values of the last epoch."""
        return {name: curve[-1] for name, curve in vars(self).items() if curve}

    def __len__(self):
        return len(self.loss)

    def __repr__(self):
        values = "".join(f", {name} {value:.4f}" for name, value in self.latest().items())
        return f"<History: {len(self)} epochs{values}>"
