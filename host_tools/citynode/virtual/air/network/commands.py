"""MAC commands as the network writes them, by the table that they are read with."""

from citynode.phy.mac import COMMANDS, Row

# Of the commands that a network sends: CID, payload size, fields.
_DOWN = {
    name: (cid, size, rows) for (cid, uplink), (name, size, rows) in COMMANDS.items() if not uplink
}
# The name of the answer to each request: the commands of one CID.
ANSWERS = {
    COMMANDS[cid, True][0]: name for name, (cid, _, _) in _DOWN.items() if name.endswith("Req")
}


def write(name: str, **fields: float) -> bytes:
    """Return a command of the network, as `LinkADRReq`; fields that are left out are 0.

    Fields and units are those of `citynode.phy.mac`. Raises ValueError for what there is not, and
    for a value that has no room.
    """
    if name not in _DOWN:
        raise ValueError(f"no MAC command of a network: {name}")
    cid, size, rows = _DOWN[name]
    if unknown := fields.keys() - {row[0] for row in rows}:
        raise ValueError(f"{name} has no {', '.join(sorted(unknown))}")
    bits = 0
    for row in rows:
        bits |= _bits(name, row, fields.get(row[0], 0))
    return bytes((cid,)) + bits.to_bytes(size, "little")


def _bits(command: str, row: Row, value: float) -> int:
    name, first, size, form = row
    steps = {"hz": value / 100, "/256": value * 256}.get(form, value)
    number = int(steps)
    if number != steps or not 0 <= number < 1 << size:
        raise ValueError(f"{command} has no room for {name}={value}")
    return number << first
