"""Which gateway sends a downlink, in which of the device's windows, and whether it may."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from citynode.virtual.air.network import region
from citynode.virtual.air.network.answer import Answer
from citynode.virtual.air.network.gateways import Diary, Downlink, Heard
from citynode.virtual.world.clock import NS

Outcome = Callable[[Heard, Downlink, bool], object]


@dataclass(frozen=True)
class Window:
    """A receive window of a device, `delay_s` behind the end of its uplink."""

    number: int
    delay_s: int
    freq_hz: int
    rate: int


class Scheduler:
    """Offers a downlink to the gateways that heard the uplink: RX1 to all of them, then RX2.

    The gateways are asked in the order of the copies, which is that of their signals.
    """

    def __init__(self, *, duty_cycle: bool) -> None:
        self._duty_cycle = duty_cycle
        self._diaries: dict[bytes, Diary] = {}

    def send(
        self,
        answer: Answer,
        windows: Sequence[Window],
        copies: Sequence[Heard],
        on_sent: Outcome,
        on_failed: Callable[[str], object],
    ) -> None:
        """Send; `on_sent(copy, downlink, known)` tells by whom, and whether the gateway said so.

        `on_failed(reason)` gets the last reason why not.
        """
        tries = iter(
            [
                (copy, _downlink(answer.phy, window, copy))
                for window in windows
                if answer.fits(window.number, region.MAX_PAYLOAD[window.rate])
                for copy in copies
            ]
        )
        self._next(tries, on_sent, on_failed, "no window has room")

    def _next(
        self,
        tries: Iterator[tuple[Heard, Downlink]],
        on_sent: Outcome,
        on_failed: Callable[[str], object],
        reason: str,
    ) -> None:
        for copy, downlink in tries:
            diary = self._diary(copy.antenna.eui)
            refusal = diary.refusal(downlink)
            if refusal is None:
                break
            reason = refusal
        else:
            on_failed(reason)
            return
        diary.book(downlink)

        def done(error: str | None) -> None:
            if error is None or error == "NONE":
                on_sent(copy, downlink, error is not None)
            else:
                diary.cancel(downlink)
                self._next(tries, on_sent, on_failed, error)

        copy.antenna.send(downlink, done)

    def _diary(self, eui: bytes) -> Diary:
        if eui not in self._diaries:
            self._diaries[eui] = Diary(duty_cycle=self._duty_cycle)
        return self._diaries[eui]


def _downlink(phy: bytes, window: Window, copy: Heard) -> Downlink:
    sf, bw_hz = region.RATES[window.rate]
    delay_ns = window.delay_s * NS
    return Downlink(
        payload=phy,
        freq_hz=window.freq_hz,
        sf=sf,
        bw_hz=bw_hz,
        power_dbm=region.BANDS[region.band(window.freq_hz) or 0][3],
        delay_ns=delay_ns,
        at_ns=copy.end_ns + delay_ns,
        context=copy.context,
    )
