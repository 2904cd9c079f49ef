"""What the node's tests share; runs on CPython and on MicroPython."""


class Chance:
    """Numerical Recipes' linear congruential generator: the same numbers everywhere."""

    def __init__(self, seed):
        self.state = seed

    def below(self, n):
        """Return 0 … n-1."""
        self.state = (self.state * 1664525 + 1013904223) & 0xFFFFFFFF
        return (self.state >> 8) % n

    def bytes(self, n):
        """Return n bytes."""
        return bytes([self.below(256) for _ in range(n)])


def steps(times):
    """Return the differences between neighbours."""
    return [times[i + 1] - times[i] for i in range(len(times) - 1)]


def kind_of(error_type, call, *args):
    """Call; return the error's kind, or None when there was none."""
    try:
        call(*args)
    except error_type as error:
        return error.kind
    return None
