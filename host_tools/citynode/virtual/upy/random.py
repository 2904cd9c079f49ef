"""`random` of the ESP32 port: its seed is the chip's entropy, which is the host's to give."""

from _native import random as _random
from _rpc import call as _call

getrandbits = _random.getrandbits
randrange = _random.randrange
randint = _random.randint
choice = _random.choice
random = _random.random
uniform = _random.uniform


def seed(n=None):
    _random.seed(int.from_bytes(_call("app.random", 4), "little") if n is None else n)


seed()
