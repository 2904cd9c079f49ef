"""A board under test: flashed, provisioned and listened to, by the code that benches use."""

import contextlib
import re
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple, TypeVar

from citynode.bench.contents import Order
from citynode.bench.flash import Guard, Kit, Method, prepare, write
from citynode.bench.job import Bench
from citynode.bench.outcome import BoardError, Outcome, Unwatched
from citynode.bench.power import OFF_S
from citynode.bench.provision import provision
from citynode.bench.readback import firmware_version
from citynode.boards import Board
from citynode.frames import Record
from citynode.hil import profile as profiles
from citynode.hil.console import Console, NotSeenError
from citynode.hil.lab import Lab, Site
from citynode.hil.slots import Slot
from citynode.identity import Identity
from citynode.link.bootloader import FAST, ChipFacts
from citynode.link.channel import Leash
from citynode.link.errors import LinkError
from citynode.profiles import Profile

T = TypeVar("T")

# What goes away when it is tried again, at times: the port's fault, not the board's.
_PASSING = frozenset(
    (
        "bootloader",
        "busy",
        "died",
        "lost",
        "no_board",
        "no_port",
        "no_repl",
        "not_rfc2217",
        "silent",
        "unkept",
    )
)
_RUNS_S = 30.0
# The first line of a node's program: version, node id, and why it was started.
STARTED = r" app: citynode (\S+) node (\S+) reset (\w+)"
_PAUSE_S = 1.0


class Start(NamedTuple):
    """A start of a node: its cause (poweron, hard, deepsleep …) and the mark behind its line."""

    cause: str
    mark: int


class _OneBoard(Guard):
    """Lets nothing be written to another board than the bench says is there."""

    def __init__(self, slot: Slot) -> None:
        self._slot = slot

    def met(self, facts: ChipFacts) -> None:
        """Compare the MAC."""
        if self._slot.mac not in (None, facts.mac):
            raise BoardError(
                f"{self._slot.serial} has the board {facts.mac} instead of {self._slot.mac}: "
                "nothing was written",
                "bring the bench map up to date with 'citynode bench init'",
            )


class Dut:
    """One board of the bench, as tests get it from `board` and `fleet`.

    `slot` is its place on the bench, `spec` its board file, `console` what it says; `mac`,
    `node_id` and `version` tell who it is. `faults` are failures of its port that went away when
    it was tried again (at most `retries` times each). Methods raise LinkError or BoardError.
    """

    def __init__(self, lab: Lab, site: Site, slot: Slot, spec: Board, retries: int) -> None:
        self.slot = slot
        self.spec = spec
        self.console = Console(site.port)
        self.mac = slot.mac or ""
        self.node_id = ""
        self.version = ""
        self.faults: list[str] = []
        self.arrived_before = 0  # records at the broker when the test began
        self._lab = lab
        self._site = site
        self._retries = retries
        self._profile: Profile | None = None  # what is known to be on the board
        self._off = False
        self._network = "wifi"
        self._kits: dict[bytes, Kit] = {}

    @property
    def name(self) -> str:
        """What the bench calls the board."""
        return self.slot.name

    @property
    def port(self) -> str:
        """Its port."""
        return self._site.port

    @property
    def profile(self) -> Profile:
        """What the node does now."""
        if self._profile is None:
            raise RuntimeError("the board was not prepared")
        return self._profile

    @property
    def records(self) -> list[Record]:
        """The records that the node has accepted since the test began."""
        return self.console.records

    # -- what a test does ------------------------------------------------------------------------

    def reset(self) -> None:
        """Reset the board by its lines; the log goes on."""
        self.console.close()
        self.console.open(restart=True)

    def wait_start(self, within_s: float = 30.0, *, since: int = 0) -> Start:
        """Wait until the node has started, after the mark `since`.

        Raises NotSeenError if it does not, or starts as another.
        """
        found, mark = self.console.find(STARTED, within_s, since=since)
        if found[2] != self.node_id:
            raise NotSeenError(
                f"{self.name} has started as {found[2]}, not {self.node_id},", within_s
            )
        return Start(found[3], mark)

    def configure(self, **changes: object) -> None:
        """Give the node the usual profile with changes, by its REPL, and have it start with that.

        `changes` are keys of a profile: `configure(interval_s=2, sleep="deep")`. The next test gets
        the usual profile again.
        """
        self._provision(self._make(self._network, changes))
        self._start()

    def power_off(self) -> None:
        """Cut the board's supply. Raises CitynodeError if the bench cannot."""
        self._site.switches["power"].switch(False)
        self._off = True

    def power_on(self) -> None:
        """Give the supply back."""
        self._site.switches["power"].switch(True)
        self._off = False

    def power_cycle(self) -> None:
        """Cut the supply for as long as the capacitors of a dev board need."""
        self.power_off()
        try:
            time.sleep(OFF_S)
        finally:
            self.power_on()

    @contextlib.contextmanager
    def without(self, cut: str) -> Iterator[None]:
        """Take something of CUTS away for as long as the block takes."""
        switch = self._site.switches[cut]
        try:
            switch.switch(False)
            yield
        finally:
            switch.switch(True)

    # -- what the plugin does --------------------------------------------------------------------

    def prepare(self, network: str) -> None:
        """Have the board flashed, with the usual profile for a network, and running."""
        if self._off:
            self.power_on()
        wanted = self._make(network, {})
        self._network = network
        if self._profile is None:
            self._flash(wanted)
            self._start()
        elif self._profile != wanted:
            self._provision(wanted)
            self._start()

    def doubt(self) -> None:
        """Trust nothing that is known of the board: a test on it has failed."""
        self._profile = None

    def close(self) -> None:
        """Let go of the board; it keeps its supply."""
        self.console.close()
        if self._off:
            self.power_on()

    def _make(self, network: str, changes: dict[str, object]) -> Profile:
        lab = self._lab
        return profiles.make(self.slot, network, lab.uplink, lab.ntp, changes)

    def _order(self, profile: Profile) -> Order:
        return Order(self.spec, profile, self._lab.given, self._lab.ca)

    def _flash(self, profile: Profile) -> None:
        kit = self._kit(profile)
        method = Method(self.slot.baud or FAST)

        def work(bench: Bench, outcome: Outcome) -> Identity:
            identity = write(bench, outcome, kit, self._site.store, method, _OneBoard(self.slot))
            self._site.welcome(identity)
            return identity

        self._work(work, profile)

    def _provision(self, profile: Profile) -> None:
        order = self._order(profile)

        def work(bench: Bench, outcome: Outcome) -> None:
            self.reset()  # one that sleeps does not hear
            self.console.close()
            provision(bench, outcome, order, self._site.store, "mpremote")

        self._work(work, profile)

    def _work(self, work: Callable[[Bench, Outcome], object], profile: Profile) -> None:
        outcome = Outcome(self.port)
        self._profile = None

        def once() -> None:
            self.console.close()
            work(Bench(self.port, Leash(), Unwatched(), outcome), outcome)

        self._again(once)
        self._profile = profile
        self.mac, self.node_id = outcome.mac or "", outcome.node_id or ""

    def _start(self) -> None:
        """Start the node with somebody listening, and hear from it who it is."""

        def once() -> re.Match[str]:
            mark = self.console.mark
            self.reset()
            return self.console.wait(STARTED, _RUNS_S, since=mark)

        self.version, node_id = self._again(once).group(1, 2)
        if (self.version, node_id) != (firmware_version(), self.node_id):
            self.doubt()
            raise BoardError(
                f"{self.port} runs {self.version} as {node_id} instead of {firmware_version()} as "
                f"{self.node_id}",
                "run this again; if it stays so, the flash chip is worn",
            )

    def _again(self, work: Callable[[], T]) -> T:
        for left in reversed(range(self._retries + 1)):
            try:
                return work()
            except LinkError as error:
                if not left or error.kind not in _PASSING:
                    raise
                self.faults.append(error.what)
                time.sleep(_PAUSE_S)
        raise AssertionError  # the loop returns or raises

    def _kit(self, profile: Profile) -> Kit:
        order = self._order(profile)
        if order.config not in self._kits:
            self._kits[order.config] = prepare(order, self._site.image(self.spec))
        return self._kits[order.config]
