"""The radio of a board and that of a peer: whether each hears the other, and how strong."""

import contextlib
import secrets
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace

from citynode.bench.job import Bench
from citynode.bench.outcome import Verdict
from citynode.bench.selftest_lines import Item, broken, parse
from citynode.link import ports
from citynode.link.errors import LinkError
from citynode.link.repl import Repl

_TAG_BYTES = 4
_READY = "from node.hal import selftest"  # so that it does not take its time when it has to hear
_MAIN = "from node.hal import selftest\nselftest.main([{item!r}], {{'tag': {tag!r}}})"


@dataclass(frozen=True)
class Peer:
    """A LoRaWAN node of the bench that boards are to hear and be heard by, one after the other.

    `low_dbm` is the least that either may receive, None: whatever is heard will do.
    """

    port: str
    low_dbm: float | None = None
    turn: threading.Lock = field(default_factory=threading.Lock, repr=False)


def exchange(bench: Bench, board: Repl, peer: Peer) -> list[Item]:
    """Have board and peer send to each other; return what the peer heard, and what the board did.

    The peer restarts its node afterwards. Raises LinkError for the board; what goes wrong with the
    peer is an item.
    """
    with peer.turn:
        try:
            with ports.lock(peer.port), Repl(peer.port, leash=bench.leash) as other:
                other.connect()
                try:
                    other.run(_READY)
                    return [
                        _across(board, other, peer, "peer.heard"),
                        _across(other, board, peer, "peer.hears"),
                    ]
                finally:
                    with contextlib.suppress(LinkError):
                        other.restart()
        except LinkError as error:
            if error.port != peer.port:
                raise
            return [broken("peer", error)]


def _across(sender: Repl, hearer: Repl, peer: Peer, name: str) -> Item:
    tag = secrets.token_hex(_TAG_BYTES)
    with ThreadPoolExecutor(1) as pool:
        listening = pool.submit(hearer.run, _MAIN.format(item="hear", tag=tag))
        sent, _ = parse(sender.run(_MAIN.format(item="send", tag=tag)))
        heard, _ = parse(listening.result())
    return _judge(name, sent, heard, peer.low_dbm)


def _judge(name: str, sent: Sequence[Item], heard: Sequence[Item], low: float | None) -> Item:
    """Return what came of it; where one has not sent, the other is not to blame."""
    for each in (*sent, *heard):
        if each.verdict is not Verdict.PASS:
            return replace(each, name=name, low=low)
    if not sent or not heard or heard[0].value is None:
        return Item(name, Verdict.ERROR, detail="a board said nothing that makes sense")
    verdict = Verdict.FAIL if low is not None and heard[0].value < low else Verdict.PASS
    return replace(heard[0], name=name, verdict=verdict, low=low)
