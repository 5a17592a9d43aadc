"""The file format: safetensors with a description, written whole or not at all."""

from .format import pack, read, read_arrays, replace, replace_with, unpack, write
from .temporary import remove_leftovers

__all__ = [
    "pack",
    "read",
    "read_arrays",
    "remove_leftovers",
    "replace",
    "replace_with",
    "unpack",
    "write",
]
