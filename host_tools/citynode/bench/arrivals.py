"""Boards that are plugged in and pulled out while the bench works: each is taken up once."""

import contextlib
import re
import socket
import threading
import time
from collections.abc import Callable, Sequence
from urllib.parse import urlsplit

from citynode.bench.job import InterruptedJobError, Judge, Work, deaf, failed, one
from citynode.bench.outcome import Outcome, Verdict, Watch
from citynode.link import ports
from citynode.link.channel import Leash

LOOK_S = 0.5
LOOK_AT_URL_S = 2.0  # a connection may make a serial server move the lines of its port
GONE_S = 3.0  # a board that is its own USB device is away for a second when it restarts
_CONNECT_S = 0.5
_END_S = 10.0
_PATTERN = re.compile(r"[*?\[]")


class Arrivals:
    """Tells which ports have come; `given` are names, globs or URLs, None all likely boards.

    `filters` are those of `ports.filtered`. A port whose board is done comes again when it was
    away for a while; one that is a done board's own USB device by its serial number (which is the
    chip's MAC) does not.
    """

    def __init__(
        self,
        given: Sequence[str] | None,
        filters: Sequence[str] = (),
        *,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._given = given
        self._filters = filters
        self._now = now
        self._taken: dict[str, float] = {}  # key of a port: when it was seen last
        self._busy: set[str] = set()
        self._done: set[str] = set()  # MACs
        self._looked: dict[str, tuple[float, bool]] = {}

    def new(self) -> list[str]:
        """Return the ports that have come since; each is busy until `end`."""
        now, present = self._now(), self._present()
        for key in self._busy | (self._taken.keys() & present.keys()):
            self._taken[key] = now
        for key, seen in list(self._taken.items()):
            if now - seen > GONE_S:
                del self._taken[key]
        come = {key: port for key, port in present.items() if key not in self._taken}
        for key in come:
            self._taken[key] = now
        self._busy |= come.keys()
        return list(come.values())

    def end(self, port: str, passed_mac: str | None) -> None:
        """Say that the work on a port is over; `passed_mac` if its board is done."""
        self._busy.discard(ports.key(port))
        self._taken[ports.key(port)] = self._now()
        if passed_mac is not None:
            self._done.add(passed_mac)

    def _present(self) -> dict[str, str]:
        listed = ports.filtered(ports.list_all(), self._filters)
        found = [port.device for port in listed if port.likely and self._given is None]
        for item in self._given or ():
            if "://" in item:
                found += [item] if self._answers(item) else []
            elif _PATTERN.search(item) or not self._filters:
                found += ports.matching(item)
            else:
                wanted = {ports.key(each) for each in ports.matching(item)}
                found += [port.device for port in listed if ports.key(port.device) in wanted]
        own = {
            ports.key(port.device): re.sub("[:-]", "", port.serial_number or "").lower()
            for port in listed
        }
        return {
            ports.key(port): port for port in found if own.get(ports.key(port)) not in self._done
        }

    def _answers(self, url: str) -> bool:
        """Tell whether a serial server has the port; nobody asks while its board is worked on."""
        key, now = ports.key(url), self._now()
        if key in self._busy:
            return True
        at, answer = self._looked.get(key, (-LOOK_AT_URL_S, False))
        if now - at >= LOOK_AT_URL_S:
            address = urlsplit(url)
            try:
                place = (address.hostname or "", address.port or 0)
                socket.create_connection(place, _CONNECT_S).close()
                answer = True
            except OSError:
                answer = False
            self._looked[key] = now, answer
        return answer


def work_on_arrivals(
    arrivals: Arrivals,
    work: Work,
    *,
    jobs: int | None,
    watch: Watch,
    make: Callable[[str], Outcome] = Outcome,
    judge: Judge = failed,
) -> list[Outcome]:
    """Do the work on each board that comes, until Ctrl-C; return how each ended.

    Raises InterruptedJobError if there was a board at work.
    """
    leash = Leash()
    outcomes: list[Outcome] = []
    room = threading.BoundedSemaphore(jobs) if jobs is not None else contextlib.nullcontext()
    at_work: dict[threading.Thread, tuple[Outcome, threading.Event]] = {}

    def labour(outcome: Outcome, ended: threading.Event) -> None:
        try:
            with room:
                one(outcome, work, leash, watch, judge)
        finally:
            ended.set()

    try:
        while True:
            for thread, (outcome, ended) in list(at_work.items()):
                if ended.is_set():
                    passed = outcome.verdict in (Verdict.PASS, Verdict.SKIP)
                    arrivals.end(outcome.port, outcome.mac if passed else None)
                    del at_work[thread]
            for port in arrivals.new():
                outcome, ended = make(port), threading.Event()
                thread = threading.Thread(target=labour, args=(outcome, ended), daemon=True)
                outcomes.append(outcome)
                at_work[thread] = outcome, ended
                thread.start()
            time.sleep(LOOK_S)
    except BaseException as error:
        with deaf():
            busy = [ended for _, ended in at_work.values() if not ended.is_set()]
            leash.cut()
            for ended in busy:
                ended.wait(_END_S)
        if not isinstance(error, KeyboardInterrupt):
            raise
        # One that had told its end before is not interrupted.
        stuck = any(not ended.is_set() for ended in busy)
        if stuck or any(each.verdict is Verdict.ABORTED for each in outcomes):
            raise InterruptedJobError(outcomes) from None
        return outcomes
