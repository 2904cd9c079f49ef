"""The pytest plugin; it is in every run of pytest, and does nothing where it is not used.

What it needs is imported when it is used: projects that have citynode installed pay nothing.
"""

from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from citynode.hil.arrivals import Broker, Network
    from citynode.hil.dut import Dut
    from citynode.hil.run import Run
    from citynode.hil.session import Deal

_OPTIONS = ("bench", "labgrid", "hil_boards", "hil_quarantine")
DUTS = "_hil_duts"  # the fixture that all others stand on
FAULT = "port fault"  # the property of a test whose board's port failed

_RUN: "pytest.StashKey[Run]" = pytest.StashKey()
_DEAL: "pytest.StashKey[Deal]" = pytest.StashKey()
_DUTS: "pytest.StashKey[list[Dut]]" = pytest.StashKey()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options."""
    group = parser.getgroup("citynode", "hardware in the loop (citynode)")
    group.addoption("--bench", metavar="FILE", type=Path, help="Bench map of real boards")
    group.addoption(
        "--labgrid",
        metavar="PLACE[,PLACE]",
        help="Real boards at places that a labgrid coordinator hands out",
    )
    group.addoption(
        "--labgrid-coordinator",
        metavar="HOST[:PORT]",
        help="That coordinator; else LG_COORDINATOR is",
    )
    group.addoption(
        "--hil-setup", metavar="FILE", type=Path, help="TOML file of a bench's networks and broker"
    )
    group.addoption(
        "--hil-boards",
        metavar="BOARD[,BOARD]",
        help="Run each test on a board of each of these kinds, or on 'all' boards; they are "
        "virtual without --bench and --labgrid",
    )
    group.addoption(
        "--hil-retries",
        metavar="N",
        type=int,
        default=2,
        help="How often a port that fails is tried again; each time is shown (default: 2)",
    )
    group.addoption(
        "--hil-quarantine",
        metavar="FILE",
        type=Path,
        help="TOML file of tests whose failure fails nobody",
    )


def _run(config: pytest.Config) -> "Run":
    """Return what the options come to; raises pytest.UsageError."""
    if _RUN not in config.stash:
        from citynode.errors import CitynodeError
        from citynode.hil.run import Run

        try:
            run = Run(config)
            if run.in_use:
                _ = run.session
        except CitynodeError as error:
            raise pytest.UsageError(str(error)) from None
        config.stash[_RUN] = run
    return config.stash[_RUN]


def _is_used(config: pytest.Config) -> bool:
    return any(config.getoption(name) for name in _OPTIONS)


@pytest.hookimpl(optionalhook=True, tryfirst=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int | None:
    """Make `-n auto` one worker for each board."""
    if not _is_used(config) or not _run(config).in_use:
        return None
    return max(1, len(_run(config).session.slots))


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Check the options, and have pytest-xdist deal out boards rather than tests."""
    config.addinivalue_line(
        "markers",
        "requires(*features, boards=2): what the boards of a test need; 'boards' is for 'fleet'",
    )
    # pyserial's, which is as old as that.
    config.addinivalue_line(
        "filterwarnings", r"ignore:set\w+\(\) is deprecated:DeprecationWarning:serial\.rfc2217"
    )
    config.pluginmanager.register(_Results(config), "citynode results")
    if not _is_used(config) or not _run(config).in_use:
        return
    dist = config.getoption("dist", "no")
    if dist not in ("no", "load", "loadgroup"):
        raise pytest.UsageError(f"boards are dealt out to workers: leave out --dist {dist}")
    if dist == "load":
        config.option.dist = "loadgroup"


@pytest.hookimpl(tryfirst=True)
def pytest_sessionstart(session: pytest.Session) -> None:
    """Take the places of labgrid."""
    if (run := session.config.stash.get(_RUN, None)) is not None:
        from citynode.errors import CitynodeError

        try:
            run.start()
        except CitynodeError as error:
            raise pytest.UsageError(str(error)) from None


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Give boards and places back."""
    if (run := session.config.stash.get(_RUN, None)) is not None:
        run.close()


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tell a worker of pytest-xdist what it cannot find out by itself."""
    if (run := node.config.stash.get(_RUN, None)) is not None:
        from citynode.hil.run import INPUT

        node.workerinput[INPUT] = run.for_workers()


def pytest_report_header(config: pytest.Config) -> str | None:
    """Say which bench it is."""
    run = config.stash.get(_RUN, None)
    return run.header if run is not None and run.in_use else None


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test on a board of each kind that was asked for and suits it."""
    names = metafunc.fixturenames
    run = metafunc.config.stash.get(_RUN, None)
    if run is None or not run.kinds or DUTS not in names or "fleet" in names:
        return
    boards: list[Any] = list(run.boards_for(metafunc.definition))
    boards = boards or [pytest.param(None, id="none")]
    metafunc.parametrize(DUTS, boards, indirect=True)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Bind tests to boards, so that what a worker does is on boards of its own."""
    run = config.stash.get(_RUN, None)
    if run is None:
        return
    from citynode.hil.slots import groups

    for item in items:
        entry = run.quarantine.entry(item.nodeid)
        if entry is not None:
            reason = f"in quarantine since {entry.since}: {entry.reason}"
            item.add_marker(pytest.mark.xfail(reason=reason, strict=False))
    if not run.in_use:
        return
    bound = []
    for item in items:
        if DUTS in getattr(item, "fixturenames", ()):
            deal = item.stash[_DEAL] = run.deal(item)
            if deal.slots:
                bound.append((item, [slot.name for slot in deal.slots]))
    group = groups(names for _, names in bound)
    for item, names in bound:
        item.add_marker(pytest.mark.xdist_group(group[names[0]]))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Tell in every report which boards a test has used, and in a failure's what they said."""
    duts = item.stash.get(_DUTS, None)
    if duts is None:
        return (yield)
    run = item.config.stash[_RUN]
    run.note(item, duts)
    report = yield
    if call.excinfo is not None and not call.excinfo.errisinstance(pytest.skip.Exception):
        run.failed(report, duts)
    return report


class _Results:
    """Collects what must not be overlooked, where the results of all workers come together."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._faults: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Take the report of a test's phase."""
        if report.when == "teardown":
            faults = [text for name, text in report.user_properties if name == FAULT]
            self._faults += [f"{report.nodeid}: {text}" for text in faults]
        if (run := self._config.stash.get(_RUN, None)) is not None:
            run.result(report)

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """Tell of ports that failed at first, and of tests in quarantine."""
        if self._faults:
            terminalreporter.section("ports that failed and were tried again", yellow=True)
            for line in self._faults:
                terminalreporter.write_line(line)
        if (run := self._config.stash.get(_RUN, None)) is not None:
            run.summary(terminalreporter)


# -- fixtures -------------------------------------------------------------------------------------


@pytest.fixture
def _hil_duts(request: pytest.FixtureRequest) -> Iterator[list["Dut"]]:
    run = _run(request.config)
    item = request.node
    deal = item.stash.get(_DEAL, None) or run.deal(item)
    if not deal.slots:
        pytest.skip(deal.refusal)
    with run.session.turn(deal):
        duts = item.stash[_DUTS] = run.session.duts(deal)
        run.session.prepare(deal, duts)
        yield duts


@pytest.fixture
def board(_hil_duts: list["Dut"]) -> "Dut":
    """Return a board that is flashed, provisioned and running, with a clean log."""
    return _hil_duts[0]


@pytest.fixture
def fleet(_hil_duts: list["Dut"]) -> list["Dut"]:
    """Return several boards that are flashed, provisioned and running, with a clean log."""
    return _hil_duts


@pytest.fixture
def broker(request: pytest.FixtureRequest, _hil_duts: list["Dut"]) -> "Broker":
    """Return what has arrived at the broker of the test's boards."""
    from citynode.hil.arrivals import Broker

    arrivals = _run(request.config).session.arrivals
    if arrivals is None:
        pytest.skip("the bench has no broker (see --hil-setup)")
    return Broker(arrivals, _hil_duts)


@pytest.fixture
def network(_hil_duts: list["Dut"]) -> "Network":
    """Return the networks of the test's boards, which can be cut."""
    from citynode.hil.arrivals import Network

    return Network(_hil_duts)
