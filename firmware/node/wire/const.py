"""`const()` for CPython; MicroPython's compiler folds it away and never calls it."""


def const(value: int) -> int:
    """Return the value."""
    return value
