"""What a training run leaves behind: one value an epoch in each curve."""


class History:
    """The curves of a training run: one value an epoch.

    Attributes
    ----------
    curves : dict of str to list of float
        All of them. Each is an attribute too, such as `history.loss`; where there is none it is
        empty.
    loss, accuracy, penalty : list of float
        Mean over the samples of the epoch, each as its batch met it. The penalty of the weights,
        where a layer has one, is a part of the loss. A regression has no accuracy.
    val_loss, val_accuracy : list of float
        On the validation data after the epoch; empty without any.
    """

    def __init__(self):
        self.curves = {}

    def __getattr__(self, name):
        known = ("loss", "accuracy", "penalty", "val_loss", "val_accuracy")
        curves = self.__dict__.get("curves", {})
        if name in curves:
            return curves[name]
        if name in known:
            return []
        raise AttributeError(f"the history has no curve {name!r}, only {', '.join(curves)}")

    def append(self, training, validation=None):
        """Add one epoch, given as the dicts that `evaluate` returns."""
        for name, value in training.items():
            self.curves.setdefault(name, []).append(value)
        for name, value in (validation or {}).items():
            self.curves.setdefault("val_" + name, []).append(value)

    def latest(self):
        """Return the curves' names with the values of the last epoch."""
        return {name: curve[-1] for name, curve in self.curves.items()}

    def __len__(self):
        return len(self.loss)

    def __repr__(self):
        values = "".join(f", {name} {value:.4f}" for name, value in self.latest().items())
        return f"<History: {len(self)} epochs{values}>"
