"""Provision a board that has the firmware: identity and configuration, through its REPL."""

import contextlib
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass

from citynode.bench.contents import Order
from citynode.bench.job import Bench
from citynode.bench.outcome import BoardError, Outcome, Step
from citynode.bench.readback import ask, differences
from citynode.errors import CitynodeError
from citynode.identity import NAMESPACE, Identity, Store
from citynode.image.nvs import Kind, Value
from citynode.link.errors import LinkError
from citynode.link.repl import Repl, Transport

_MAC = re.compile("[0-9a-f]{12}")
_ANSWERS_S = 10.0  # a node that runs is there at once, one that is starting soon
# All keys that an identity may have, with the types of their values.
_EVERY_KEY = Identity(
    "",
    dev_eui=b"",
    join_eui=b"",
    app_key=b"",
    wifi_ssid="",
    wifi_psk="",
    mqtt_user="",
    mqtt_pass="",
    update_key=b"",
    command_key=b"",
).nvs()

# Digests leave the board, never values: what comes over the line may be logged by anyone.
_DIGESTS = """
import hashlib, binascii, esp32
def _all(keys, ints):
    n = esp32.NVS({namespace!r})
    b = bytearray(512)
    r = {{}}
    for k in keys:
        try:
            s = n.get_i32(k) if k in ints else bytes(memoryview(b)[:n.get_blob(k, b)])
        except OSError:
            continue
        if k in ints:
            s = str(s).encode()
        r[k] = binascii.hexlify(hashlib.sha256(s).digest()).decode()
    return r
print(repr(_all({keys!r}, {ints!r})))
"""
_WRITE = """
import esp32, binascii
n = esp32.NVS({namespace!r})
for k, v in {values!r}.items():
    if isinstance(v, int):
        n.set_i32(k, v)
    else:
        n.set_blob(k, binascii.unhexlify(v))
for k in {gone!r}:
    n.erase_key(k)
n.commit()
"""
_FACTS = """
import binascii, esp, hashlib, machine, os
def _digest(path):
    try:
        with open(path, 'rb') as f:
            return binascii.hexlify(hashlib.sha256(f.read()).digest()).decode()
    except OSError:
        return None
print(repr((binascii.hexlify(machine.unique_id()).decode(), os.uname()[4], esp.flash_size(),
    {{p: _digest(p) for p in {paths!r}}})))
"""


@dataclass(frozen=True)
class _Facts:
    mac: str
    chip: str
    flash_size: int
    digests: Mapping[str, str | None]


def provision(
    bench: Bench, outcome: Outcome, order: Order, store: Store, transport: Transport
) -> None:
    """Give a flashed board its identity and configuration; only what differs is written.

    Raises CitynodeError.
    """
    bench.step(Step.CONNECT)
    with Repl(bench.port, transport, bench.leash) as repl:
        repl.connect(_ANSWERS_S)
        try:
            bench.step(Step.COMPARE)
            facts = _facts(repl, order)
            outcome.mac, outcome.chip = facts.mac, facts.chip
            _refuse_wrong_board(bench.port, order, facts)
            ask(repl)  # a board without the firmware fails here, before anything is written
            identity = order.identity(store, facts.mac)
            outcome.node_id = identity.node_id
        except CitynodeError:
            with contextlib.suppress(LinkError):
                repl.restart()  # nothing was written: what ran on the board goes on
            raise
        bench.step(Step.PROVISION)
        if _write_identity(repl, identity):
            outcome.changed.append("NVS")
        for path, data in order.settings.items():
            if facts.digests.get(path) != hashlib.sha256(data).hexdigest():
                repl.put(path, data, bench.progress)
                outcome.written += len(data)
                outcome.changed.append(path)
        bench.step(Step.READ_BACK)
        found = ask(repl)
        repl.restart()
    for key, got, want in differences(found, order, identity.node_id, facts.mac):
        if key in ("version", "slot"):
            continue  # an update may have gone its own way; who the node is has to be right
        raise BoardError(
            f"{bench.port} was provisioned, but reports {key} {got} instead of {want}",
            "run this again; flash the board if it stays so",
        )
    outcome.version = str(found.get("version"))


def _facts(repl: Repl, order: Order) -> _Facts:
    match repl.value(_FACTS.format(paths=list(order.settings))):
        case (str(mac), str(machine), int(size), dict(digests)) if _MAC.fullmatch(mac):
            chip = machine.rpartition(" with ")[2].replace("-", "").lower()
            return _Facts(mac, chip, size, digests)
    raise BoardError(f"{repl.port} reports nothing that makes sense", "flash the board")


def _refuse_wrong_board(port: str, order: Order, facts: _Facts) -> None:
    board = order.board
    if facts.chip != board.chip:
        raise BoardError(
            f"{port} is an {facts.chip}, {board.id} has an {board.chip}: nothing was written",
            "choose another port or --board",
        )
    if facts.flash_size != board.flash_mib << 20:
        raise BoardError(
            f"{port} has {facts.flash_size >> 20} MiB of flash, {board.id} has "
            f"{board.flash_mib} MiB: nothing was written",
            "choose another port or --board",
        )


def _write_identity(repl: Repl, identity: Identity) -> bool:
    """Write what differs, read it back as digests; return whether anything was written."""
    wanted = identity.nvs()
    for attempt in range(2):
        found = _digests(repl)
        stale = {key: each for key, each in wanted.items() if found.get(key) != _digest(each)}
        gone = sorted(set(found) - set(wanted))
        if not stale and not gone:
            return bool(attempt)
        if not attempt:
            values = {
                key: value.hex() if isinstance(value, bytes) else value
                for key, (_, value) in stale.items()
            }
            repl.run(_WRITE.format(namespace=NAMESPACE, values=values, gone=gone))
    raise BoardError(
        f"{repl.port} did not keep its identity", "flash the board: its NVS may be damaged"
    )


def _digests(repl: Repl) -> dict[str, str]:
    integers = [key for key, (kind, _) in _EVERY_KEY.items() if kind is Kind.I32]
    found = repl.value(_DIGESTS.format(namespace=NAMESPACE, keys=list(_EVERY_KEY), ints=integers))
    return found if isinstance(found, dict) else {}


def _digest(value: tuple[Kind, Value]) -> str:
    raw = value[1] if isinstance(value[1], bytes) else str(value[1]).encode()
    return hashlib.sha256(raw).hexdigest()
