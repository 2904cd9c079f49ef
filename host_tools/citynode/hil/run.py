"""What the options of a run of pytest come to: its bench, and its tests in quarantine."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pytest

from citynode.errors import CitynodeError
from citynode.hil import quarantine, real, session
from citynode.hil.labgrid import Places
from citynode.hil.plugin import DUTS, FAULT
from citynode.hil.session import Deal, Session
from citynode.hil.slots import Slot, Wish

if TYPE_CHECKING:
    from citynode.hil.dut import Dut
    from citynode.hil.lab import Lab

EACH = "all"
INPUT = "citynode_hil"  # what a worker of pytest-xdist is told
_FLEET = 2


class Run:
    """One run of pytest in one process; raises CitynodeError where an option is wrong."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        given = config.getoption("hil_boards") or ""
        self.kinds = [name for name in given.split(",") if name]
        self.quarantine = quarantine.read(config.getoption("hil_quarantine"))
        self._bench = config.getoption("bench")
        places = [name for name in (config.getoption("labgrid") or "").split(",") if name]
        if self._bench is not None and places:
            raise CitynodeError("--bench and --labgrid are two benches", "give one of them")
        self._places = Places(places, config.getoption("labgrid_coordinator")) if places else None
        self._power: Mapping[str, Any] = {}
        self._session: Session | None = None
        self._results: dict[str, str] = {}  # of tests in quarantine, by id

    @property
    def in_use(self) -> bool:
        """Whether boards were asked for by an option; fixtures work without."""
        return bool(self._bench or self._places or self.kinds)

    @property
    def header(self) -> str:
        """Which bench it is, in a line."""
        boards = ", ".join(
            slot.board if slot.name == slot.board else f"{slot.name} ({slot.board})"
            for slot in self.session.slots
        )
        kind = "labgrid" if self._places else "virtual" if self._bench is None else self._bench
        return f"citynode: bench {kind}: {boards or 'no board is connected'}"

    @property
    def session(self) -> Session:
        """The boards; nothing is opened yet."""
        if self._session is None:
            retries = self._config.getoption("hil_retries")
            slots, make_lab = self._resolved()
            # Workers share what there is to do; alone, few boards are sooner ready than many.
            spread = self._is_worker and bool(self._bench or self._places)
            self._session = Session(slots, make_lab, spread=spread, retries=retries)
        return self._session

    # -- the life of a run -----------------------------------------------------------------------

    def start(self) -> None:
        """Take the places of labgrid, in the process that the user has started."""
        if self._places and not self._is_worker and not self._config.getoption("collectonly"):
            self._places.acquire()
            self._session = None  # it has to learn the ports

    def for_workers(self) -> list[dict[str, Any]] | None:
        """Return what workers cannot find out by themselves."""
        return self._places.facts() if self._places else None

    def close(self) -> None:
        """Give boards and places back."""
        try:
            if self._session is not None:
                self._session.close()
        finally:
            if self._places and not self._is_worker:
                self._places.release()

    # -- tests -----------------------------------------------------------------------------------

    def deal(self, item: pytest.Item) -> Deal:
        """Choose the boards of a test."""
        call = getattr(item, "callspec", None)
        return self.session.deal(wish(item), None if call is None else call.params.get(DUTS))

    def boards_for(self, item: pytest.Item) -> list[str]:
        """Return the kinds, or with "all" the boards, that a test is to run on."""
        slots = self.session.dealer.fitting(wish(item))
        if self.kinds == [EACH]:
            return [slot.name for slot in slots]
        there = {slot.board for slot in slots}
        return [kind for kind in self.kinds if kind in there]

    def note(self, item: pytest.Item, duts: Sequence["Dut"]) -> None:
        """Put a test's boards, and the faults of their ports, into its properties (JUnit)."""
        known = set(item.user_properties)
        for dut in duts:
            facts = {
                "board": dut.slot.board,
                "slot": dut.name,
                "port": dut.port,
                "chip": dut.spec.chip,
                "mac": dut.mac,
                "node": dut.node_id,
                "firmware": dut.version,
            }
            found = [(name, value) for name, value in facts.items() if value]
            faults, dut.faults = dut.faults, []
            found += [(FAULT, fault) for fault in faults]
            item.user_properties += [each for each in found if each not in known]

    def failed(self, report: pytest.TestReport, duts: Sequence["Dut"]) -> None:
        """Put what the boards said beside a failure, and trust nothing about them."""
        for dut in duts:
            report.sections += session.told(dut, self.session.arrivals)
            dut.doubt()

    # -- results, where they come together -------------------------------------------------------

    def result(self, report: pytest.TestReport) -> None:
        """Take the report of a test's phase."""
        test = quarantine.plain_id(report.nodeid)
        if self.quarantine.entry(test) is None or not hasattr(report, "wasxfail"):
            return
        if report.outcome == "passed":
            self._results.setdefault(test, "passed: take it off the list")
        else:
            crash = getattr(report.longrepr, "reprcrash", None)
            said = crash.message.splitlines()[0] if crash is not None else report.when
            self._results[test] = f"failed: {said}"

    def summary(self, reporter: Any) -> None:
        """Tell how the tests in quarantine fared."""
        if self.quarantine.quarantine:
            reporter.section("quarantine", yellow=True)
        for entry in self.quarantine.quarantine:
            reporter.write_line(f"{entry.test}: since {entry.since}: {entry.reason}")
            found = {test: how for test, how in self._results.items() if entry.matches(test)}
            for test, how in found.items():
                reporter.write_line(f"  {test} {how}")
            if not found:
                reporter.write_line("  no such test was run")

    # -- the bench -------------------------------------------------------------------------------

    @property
    def _is_worker(self) -> bool:
        return hasattr(self._config, "workerinput")

    def _resolved(self) -> tuple[Sequence[Slot], Any]:
        setup = self._config.getoption("hil_setup")
        power: Mapping[str, Any]
        if self._bench is not None:
            slots, power = real.of_map(self._bench)
        elif self._places is not None:
            told = getattr(self._config, "workerinput", {}).get(INPUT)
            slots, power = self._places.slots(self._places.facts() if told is None else told)
        else:
            from citynode.hil import virtual  # it takes a second

            kinds = () if self.kinds == [EACH] else self.kinds
            return virtual.slots(kinds), lambda: virtual.VirtualLab(kinds)
        if self.kinds and self.kinds != [EACH]:
            unknown = set(self.kinds) - {slot.board for slot in slots}
            if unknown:
                raise CitynodeError(
                    f"the bench has no {', '.join(sorted(unknown))}", "see its map, or its places"
                )
        lab = real.RealLab(slots, power, setup)

        def opened() -> "Lab":
            return lab

        return lab.slots, opened


def wish(item: pytest.Item) -> Wish:
    """Return what a test's marks ask for; raises pytest.UsageError."""
    features: list[str] = []
    boards = _FLEET if "fleet" in getattr(item, "fixturenames", ()) else 1
    for mark in item.iter_markers("requires"):
        features += [name for name in mark.args if name not in features]
        count = mark.kwargs.get("boards", boards)
        if not isinstance(count, int) or count < 1 or set(mark.kwargs) - {"boards"}:
            raise pytest.UsageError(f"{item.nodeid}: requires(*features, boards=N)")
        boards = count
    return Wish(tuple(features), boards)
