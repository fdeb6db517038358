"""How much memory is free."""

import psutil

from bn_graph.errors import InputError


def free_memory() -> int:
    """Bytes."""
    return psutil.virtual_memory().available


def check_memory(name, size: int, what: str) -> None:
    """Raises `InputError`, "`name`: `what` ... GB of memory", where `size` bytes are not free."""
    free = free_memory()
    if size > free:
        raise InputError(f"{name}: {what} {size / 1e9:.1f} GB of memory, and {free / 1e9:.1f} GB are free")
