"""Chance: the only place of the virtual boards that hands out randomness, all of it seeded."""

import hashlib
import random
import secrets


def fresh_seed() -> int:
    """Draw a seed (32 bits) from the machine's entropy, for runs that nobody asked to repeat."""
    return secrets.randbits(32)


class Chance:
    """Independent streams of randomness by name: the same seed and name give the same stream.

    Names keep the streams apart, so that one more draw in one part does not shift another's.
    """

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed

    def rng(self, name: str) -> random.Random:
        """Return a new generator at the start of the stream `name`."""
        digest = hashlib.sha256(f"{self.seed}\0{name}".encode()).digest()
        return random.Random(int.from_bytes(digest, "big"))
