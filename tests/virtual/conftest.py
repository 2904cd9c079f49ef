"""Fixtures of more than one file here."""

from air_bench import air, events
from inner_net_bench import made, racks
from repl_bench import fresh, terminal

__all__ = ["air", "events", "fresh", "made", "racks", "terminal"]
