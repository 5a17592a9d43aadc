"""What a user trains, asks and saves: it has a network, and composes what is below."""

from .base import network_of, program_of
from .loading import load, read_model
from .sequential import Sequential

__all__ = ["Sequential", "load", "network_of", "program_of", "read_model"]
