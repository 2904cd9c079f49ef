"""What a host tool reads back after flashing: who the node is, never a secret."""

import json
import sys
from binascii import crc32, hexlify

import machine

from node import VERSION
from node.core import config
from node.hal.identity import Identity


def read(path: str) -> bytes:
    """Return a file's content, b"" where there is none."""
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        return b""


def slot() -> str:
    """Return the slot that runs: "a" or "b"."""
    return "b" if sys.path and sys.path[0] == "/b" else "a"


def report() -> str:
    """Return one line of JSON: version, node_id, slot, board, mac, config_crc."""
    raw = read("/config.cbor")
    return json.dumps(
        {
            "version": VERSION,
            "node_id": Identity().node_id,
            "slot": slot(),
            "board": config.load(raw).board,
            "mac": hexlify(machine.unique_id()).decode(),
            "config_crc": crc32(raw),
        }
    )
