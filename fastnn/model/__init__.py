"""Models: what users train, evaluate and save. A model has a network and its program."""

from .base import network_of, program_of
from .loading import load, read_model
from .sequential import Sequential

__all__ = ["Sequential", "load", "network_of", "program_of", "read_model"]
