"""Hardware timers and the task watchdog."""

from citynode.virtual.engine import Engine, Timer
from citynode.virtual.soc.peripherals.pins import Host
from citynode.virtual.world.clock import NS

CHANNEL = 200  # of the soft interrupts: this plus the timer's number
_COUNT = {"esp32": 4, "esp32s3": 4, "esp32c3": 2}


class _Running:
    """One timer that has been started."""

    def __init__(self, start_ns: int, period_ns: int, repeat: bool) -> None:
        self.start_ns = start_ns
        self.period_ns = period_ns
        self.repeat = repeat
        self.due: Timer | None = None


class Timers:
    """`machine.Timer`: numbers from `_COUNT` on are the software timers of `Timer(-1)`."""

    def __init__(self, engine: Engine, chip_id: str) -> None:
        self._engine = engine
        self._count = _COUNT[chip_id]
        self._running: dict[int, _Running] = {}
        self._host: Host | None = None

    def attach(self, app: Host) -> None:
        """Answer the calls of `machine.Timer`; a soft reset stops the timers."""
        self._host = app
        app.at_soft_reset(self.reset)
        app.expose("timer.count", lambda: self._count)
        app.expose("timer.start", self._start)
        app.expose("timer.stop", self._stop)
        app.expose("timer.value", self._value)

    def reset(self) -> None:
        """Stop all timers."""
        for number in list(self._running):
            self._stop(number)

    def _start(self, number: int, period_us: int, repeat: bool) -> None:
        self._stop(number)
        now = self._engine.clock.now_ns()
        timer = self._running[number] = _Running(now, max(1, period_us) * 1000, repeat)
        timer.due = self._engine.call_at(now + timer.period_ns, self._fire, number, timer)

    def _stop(self, number: int) -> None:
        timer = self._running.pop(number, None)
        if timer is not None and timer.due is not None:
            timer.due.cancel()

    def _fire(self, number: int, timer: _Running) -> None:
        now = self._engine.clock.now_ns()
        if timer.repeat:
            # The alarms are where they would be; those that nobody had time for are lost.
            missed = (now - timer.start_ns) // timer.period_ns
            timer.start_ns += missed * timer.period_ns
            due = timer.start_ns + timer.period_ns
            timer.due = self._engine.call_at(due, self._fire, number, timer)
        else:
            del self._running[number]
        if self._host is not None:
            self._host.post_irq(CHANNEL + number, 0)

    def _value(self, number: int) -> int:
        """Return the milliseconds since the timer's start or last alarm."""
        timer = self._running.get(number)
        if timer is None:
            return 0
        return (self._engine.clock.now_ns() - timer.start_ns) // 1_000_000


class Watchdog:
    """`machine.WDT`: once started it stops only with a reset of the chip."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._timeout_ms = 0
        self._due: Timer | None = None
        self._fed_ns = 0
        self._host: Host | None = None

    @property
    def due_ns(self) -> int | None:
        """When it looks whether it was fed; None while it is off."""
        return None if self._due is None else self._due.due_ns

    def fed_at(self, ns: int) -> None:
        """Note that it was fed at a time."""
        self._fed_ns = max(self._fed_ns, ns)

    def attach(self, app: Host) -> None:
        """Answer the calls of `machine.WDT`; a soft reset does not stop it."""
        self._host = app
        app.expose("wdt.start", self._start)
        app.expose("wdt.feed", self._feed)

    def reset(self) -> None:
        """Switch it off."""
        if self._due is not None:
            self._due.cancel()
            self._due = None

    def _start(self, timeout_ms: int) -> None:
        self.reset()
        self._timeout_ms = timeout_ms
        self._feed()
        self._wait()

    def _feed(self) -> None:
        self._fed_ns = self._engine.clock.now_ns()

    def _wait(self) -> None:
        due = self._fed_ns + self._timeout_ms * NS // 1000
        self._due = self._engine.call_own_at(due, self._look)

    def _look(self) -> None:
        self._due = None
        if self._engine.clock.now_ns() < self._fed_ns + self._timeout_ms * NS // 1000:
            self._wait()
        elif self._host is not None:
            self._host.exit("task_wdt")
