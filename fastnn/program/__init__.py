"""A network as one compiled call: plan, training, streams, prediction, handles, threads."""
