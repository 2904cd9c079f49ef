"""Virtual time that keeps step with the machine's: for people and tools that look at boards.

What boards time is exact, however busy the machine is: a receive window opens when it has to, or
everything waits. In real time a program that gets no processor is late, which no chip is.
"""

from citynode.virtual.virtualtime import FOREVER_NS, VirtualEngine
from citynode.virtual.world.clock import NS, RealClock


class FollowingEngine(VirtualEngine):
    """An engine in virtual time that is never ahead of the machine's clock, and may be behind it.

    `wall_start_ns` is the world's date at the start (ns since 1970), the machine's if None. What
    comes from outside comes at the machine's time, or as soon as what was due before is done.
    """

    lead_ns = 20_000_000

    def __init__(self, seed: int = 0, wall_start_ns: int | None = None) -> None:
        self._machine = RealClock(wall_start_ns)
        super().__init__(seed, self._machine.unix_ns())

    def reach(self, ns: int) -> bool:
        """Let time go on to `ns` if it has come and nothing else is to happen until then."""
        return ns <= self._machine.now_ns() and super().reach(ns)

    def _round(self) -> None:
        due, now = self.next_ns(), self._machine.now_ns()
        if due <= now:
            super()._round()
            return
        wait_s = None if due == FOREVER_NS else (due - now) / NS
        self._selector.select(0.0 if self._posted else wait_s)
        self._virtual.move_to(min(self._machine.now_ns(), self.next_ns()))
        self._look(0.0)
