"""Fixtures of more than one file here."""

from inner_net_bench import made, racks

__all__ = ["made", "racks"]
