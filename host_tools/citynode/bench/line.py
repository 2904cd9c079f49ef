"""The way of a board over the bench: each stage is in the inventory as soon as it has ended."""

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace

from citynode.bench import flash
from citynode.bench.benchmap import UNKNOWN, BenchMap, Place
from citynode.bench.boardlog import BoardLogs
from citynode.bench.flash import Guard, Kit, Method
from citynode.bench.identify import refuse_other
from citynode.bench.job import Bench, SkippedError
from citynode.bench.outcome import BoardError, Outcome, Step, Verdict
from citynode.bench.power import cycle
from citynode.bench.selftest import Item, refuse
from citynode.errors import CitynodeError
from citynode.fleet.node import Measurement, Node, Result, Stage, Status
from citynode.fleet.store import FleetStore
from citynode.link import ports
from citynode.link.bootloader import ChipFacts
from citynode.link.errors import LinkError

SelfTest = Callable[[Bench, Outcome, Kit], Sequence[Item]]
PrintLabel = Callable[[Node], None]

_BACK_S = 10.0  # a USB bridge is there again that long after its supply
_LOOK_S = 0.2
_TOO_LATE = ("silent", "no_repl", "no_board")
_OF_THE_BOARD = ("bootloader", "unkept", "protected", "program")
_HUNG = ("no_board", "silent", "no_repl")  # what a new start of the board may cure
_STAGES = {
    Step.ERASE: Stage.FLASH,
    Step.WRITE: Stage.FLASH,
    Step.BOOT: Stage.BOOT,
    Step.READ_BACK: Stage.IDENTITY,
    Step.SELF_TEST: Stage.SELF_TEST,
    Step.LABEL: Stage.LABEL,
}
_BEFORE = "before"  # a stage that an earlier run has seen passed


@dataclass
class BoardOutcome(Outcome):
    """What became of a board on the bench.

    `stages` tells of each stage how it ended in this run, or that it had passed before; `tries`
    how often the board was taken up, `items` what its self-test has measured, `log` its log file.
    """

    stages: dict[Stage, str] = field(default_factory=dict)
    tries: int = 0
    items: list[Item] = field(default_factory=list)
    log: str | None = None

    def to_json(self) -> dict[str, object]:
        """Return what JSON can hold."""
        return {
            **super().to_json(),
            "stages": {stage.value: how for stage, how in self.stages.items()},
            "tries": self.tries,
            "self_test": [item.to_json() for item in self.items],
            "log": self.log,
        }


@dataclass(frozen=True)
class Rules:
    """What a run may do.

    `force` writes boards that are known as others, or finished; `only_failed` leaves those alone
    that are complete; a board that fails is taken up again `retries` times.
    """

    force: bool = False
    only_failed: bool = False
    retries: int = 0


def verdict_of(error: Exception) -> Verdict:
    """Tell whether it is the board that is to blame."""
    if isinstance(error, BoardError):
        return Verdict.FAIL
    if isinstance(error, LinkError):
        if error.kind in _TOO_LATE:
            return Verdict.TIMEOUT
        return Verdict.FAIL if error.kind in _OF_THE_BOARD else Verdict.ERROR
    return Verdict.ERROR


class Line:
    """Takes boards from blank to labelled; threads share it.

    `kits` are by board id, `self_test` and `print_label` may be missing. A board has to be what the
    bench map says of its port, where there is a map.
    """

    def __init__(
        self,
        kits: Mapping[str, Kit],
        store: FleetStore,
        method: Method,
        rules: Rules,
        logs: BoardLogs,
        *,
        bench_map: BenchMap | None = None,
        self_test: SelfTest | None = None,
        print_label: PrintLabel | None = None,
    ) -> None:
        self._kits = kits
        self._store = store
        self._method = method
        self._rules = rules
        self._logs = logs
        self._map = bench_map
        self._self_test = self_test
        self._print_label = print_label

    def work(self, bench: Bench, outcome: BoardOutcome) -> None:
        """Do what a board lacks; raises CitynodeError, SkippedError."""
        place = self._map.at(bench.port) if self._map is not None else None
        cycled = False
        while True:
            outcome.tries += 1
            try:
                self._once(bench, outcome, place)
                return
            except CitynodeError as error:
                if bench.leash.is_cut or not isinstance(error, LinkError):
                    raise  # a board that is not what it should be stays so
                power = place.power if place is not None else None
                if error.kind in _HUNG and power is not None and not cycled:
                    cycled = True
                    self._logs.note(bench.port, f"{error.what}: switching it off and on")
                    cycle(power)
                    _wait_for(bench)
                elif outcome.tries > self._rules.retries:
                    raise
                self._logs.note(bench.port, f"{error.what}: trying again")

    def _once(self, bench: Bench, outcome: BoardOutcome, place: Place | None) -> None:
        try:
            self._all_stages(bench, outcome, place)
        except Exception as error:
            self._record_failure(bench, outcome, error)
            raise

    def _all_stages(self, bench: Bench, outcome: BoardOutcome, place: Place | None) -> None:
        kit = self._kit(bench.port, place)
        method = self._method
        if place is not None and place.baud is not None:
            method = replace(method, baud=min(method.baud, place.baud))
        needed = {Stage.FLASH, Stage.BOOT, Stage.IDENTITY}
        if self._self_test is not None:
            needed.add(Stage.SELF_TEST)
        guard = _Guard(bench.port, self._store, self._rules, place, self._logs, needed)
        guard.dry_run = method.dry_run
        identity = flash.write(bench, outcome, kit, self._store, method, guard)
        if method.dry_run:
            return
        mac = outcome.mac or ""
        node = self._store.node(mac)
        if node is None:
            raise CitynodeError(f"the fleet has lost {mac}", "see 'citynode fleet audit'")
        passed = {each for each, step in node.stages.items() if step.outcome == Result.PASS}
        self._pass(outcome, Stage.FLASH, was_there=not guard.wrote and Stage.FLASH in passed)
        if {Stage.BOOT, Stage.IDENTITY} <= passed:
            outcome.version = node.entry.firmware
            outcome.stages |= {Stage.BOOT: _BEFORE, Stage.IDENTITY: _BEFORE}
        else:
            flash.prove(bench, outcome, kit, identity, method)
            self._store.record(
                mac,
                (Stage.BOOT, Stage.IDENTITY),
                firmware=outcome.version,
                micropython=kit.micropython,
            )
            outcome.stages |= {Stage.BOOT: Result.PASS.value, Stage.IDENTITY: Result.PASS.value}
        if Stage.SELF_TEST in passed:
            outcome.stages[Stage.SELF_TEST] = _BEFORE
        elif self._self_test is not None:
            self._test(outcome, node, self._self_test(bench, outcome, kit))
        if Stage.LABEL in passed:
            outcome.stages[Stage.LABEL] = _BEFORE
        elif self._print_label is not None:
            bench.step(Step.LABEL)
            self._print_label(node)
            self._pass(outcome, Stage.LABEL, was_there=False)

    def _kit(self, port: str, place: Place | None) -> Kit:
        if place is None or (place.platform == UNKNOWN and len(self._kits) == 1):
            if len(self._kits) == 1:
                return next(iter(self._kits.values()))
            raise BoardError(
                f"the bench map does not say which board is at {port}",
                "see 'citynode bench init', or give --board",
            )
        if place.platform not in self._kits:
            raise BoardError(
                f"the bench map says {place.platform} for {port}, which is not what is flashed",
                "give --board, or correct the map",
            )
        return self._kits[place.platform]

    def _pass(self, outcome: BoardOutcome, stage: Stage, *, was_there: bool) -> None:
        if not was_there:
            self._store.record(outcome.mac or "", (stage,))
            outcome.stages[stage] = Result.PASS.value
        outcome.stages.setdefault(stage, _BEFORE)

    def _test(self, outcome: BoardOutcome, node: Node, items: Sequence[Item]) -> None:
        """Record what was measured; raises BoardError if an item is not as it should be."""
        outcome.items = list(items)
        measured = [
            Measurement(each.name, each.verdict.value, each.value, each.unit, each.low, each.high)
            for each in items
            if each.verdict.value in Result.__members__
        ]
        for each in items:
            self._logs.note(outcome.port, f"self-test: {each.verdict.value} {each.told()}")
        self._store.fleet.measured(node, measured)
        bad = [each for each in measured if each.outcome != Result.PASS]
        outcome.stages[Stage.SELF_TEST] = bad[0].outcome if bad else Result.PASS.value
        refuse(outcome.port, items)

    def _record_failure(self, bench: Bench, outcome: BoardOutcome, error: Exception) -> None:
        stage = _STAGES.get(outcome.step)
        if outcome.step is Step.CONNECT and Stage.IDENTITY in outcome.stages:
            stage = Stage.SELF_TEST  # its way into the REPL
        if stage is None or outcome.mac is None or isinstance(error, SkippedError):
            return
        if stage in outcome.stages and outcome.stages[stage] not in (Result.PASS, _BEFORE):
            return  # the self-test has told
        result = Result.ABORTED if bench.leash.is_cut else Result(verdict_of(error).value)
        detail = error.what if isinstance(error, CitynodeError) else type(error).__name__
        outcome.stages[stage] = result.value
        # If the inventory cannot be written, it says of this stage what it said before: not passed.
        with contextlib.suppress(CitynodeError):
            self._store.record(outcome.mac, (), stage, result, detail[:200])


class _Guard(Guard):
    """Lets a board be written that is the right one and nobody's finished node."""

    def __init__(
        self,
        port: str,
        store: FleetStore,
        rules: Rules,
        place: Place | None,
        logs: BoardLogs,
        needed: Set[Stage],
    ) -> None:
        self.asks_whose = not rules.force
        self.dry_run = False
        self.wrote = False
        self._port = port
        self._store = store
        self._rules = rules
        self._place = place
        self._logs = logs
        self._needed = needed

    def met(self, facts: ChipFacts) -> None:
        """Refuse a board that the map does not have there, or that is of another batch."""
        self._logs.named(self._port, facts.mac, facts.name)
        if self._place is not None:
            refuse_other(self._port, self._place, facts)
        node = self._store.node(facts.mac)
        if node is None:
            return
        passed = {each for each, step in node.stages.items() if step.outcome == Result.PASS}
        failed = node.status == Status.FAILED or not self._needed <= passed
        if self._rules.only_failed and not failed:
            raise SkippedError(f"{node.node_id} has not failed")
        batch = node.entry.batch
        if batch not in (None, self._store.batch) and not self._rules.force:
            raise BoardError(
                f"{self._port} is {node.node_id} of the batch {batch}: nothing was written",
                f"give --batch {batch}, or --force to take it into this one",
            )

    def owned(self, facts: ChipFacts, node_id: str) -> None:
        """Refuse a board that has an identity of another fleet."""
        raise BoardError(
            f"{self._port} is the node {node_id}, which this fleet does not know: nothing was "
            "written",
            "import it (see 'citynode fleet import'), or give --force to make another node of it",
        )

    def writes(self, facts: ChipFacts, changed: Sequence[str]) -> None:
        """Refuse to overwrite a node that was finished; else record that it is begun."""
        node = self._store.node(facts.mac)
        if node is None:
            return  # that is a dry run, too
        if not self.wrote and not self._rules.force:
            done = node.stages.get(Stage.IDENTITY)
            if done is not None and done.outcome == Result.PASS:
                raise BoardError(
                    f"{self._port} is {node.node_id}, finished at {done.at}, and has another "
                    f"{' and '.join(changed) or 'content'}: nothing was written",
                    "give --force to write it again; records that it has not sent are lost then",
                )
        if self.dry_run:
            return
        self.wrote = True
        void = [Stage.BOOT, Stage.IDENTITY, Stage.SELF_TEST]
        self._store.fleet.begin(node, void)


def _wait_for(bench: Bench) -> None:
    """Wait until the port of a board that was switched on is there again."""
    end = time.monotonic() + _BACK_S
    while time.monotonic() < end and not bench.leash.is_cut:
        try:
            ports.check(bench.port)
            return
        except LinkError:
            time.sleep(_LOOK_S)
