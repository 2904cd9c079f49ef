"""Records on their way: values into the spool, stored records into frames to send."""

import asyncio
from binascii import hexlify

from node.core.log import describe
from node.wire import frame, schema
from node.wire.const import const

_EPOCH_2000 = const(946684800)


class Recorder:
    """Accepts records into `spool` and stamps them as well as the clock allows.

    `crumb.era` is the era that the clock's seconds count in as long as it is not set (0: none
    yet), `crumb.status` the status bits due to the next record. `accepted` is an Event that is
    set with every record.
    """

    def __init__(self, spool, state, clock, crumb, counters, log) -> None:
        self._spool = spool
        self._state = state
        self._clock = clock
        self._crumb = crumb
        self._counters = counters
        self._log = log
        self.accepted = asyncio.Event()

    def mark(self, status: int) -> None:
        """Add status bits to the next record."""
        self._crumb.status |= status

    def accept(self, kind: int, values: dict, status: int = 0, unix_s: int | None = None) -> bool:
        """Put a record on flash; True when it is there.

        `unix_s` is the end of its interval by the clock, now where None. A record that flash
        does not take is counted and given up: the node goes on.
        """
        spool, clock = self._spool, self._clock
        now = clock.unix_ms() // 1000
        at = now if unix_s is None else unix_s
        status |= self._crumb.status | (schema.CLOCK_SYNCED if self._crumb.synced_s else 0)
        try:
            if clock.known:
                data = frame.encode(kind, spool.next_seq, at, status, values)
                spool.append(data)
            else:
                age = max(0, now - at)
                data = frame.encode(kind, spool.next_seq, frame.t_of_age(age), status, values)
                spool.append(data, self._era(), max(0, at - _EPOCH_2000))
        except OSError as error:
            self._counters.lost += 1
            self.mark(schema.OVERRUN)
            self._log.error("spool", "record lost, errno %s" % (error.args[0] if error.args else 0))
            return False
        self._crumb.status = 0
        if spool.dropped:
            self.mark(schema.OVERRUN)
            self._counters.dropped += spool.dropped
            self._log.warning("spool", "full, %d records dropped" % spool.dropped)
            spool.dropped = 0
        self._log.info("frame", hexlify(data).decode())
        self.accepted.set()
        return True

    def frame(self, entry) -> bytes:
        """Return a stored record `(seq, era, at, frame)` as the frame to send now."""
        _, era, at, data = entry
        if not era:
            return data
        shift = self._state.shift(era)
        if shift is not None:
            return frame.restamp(data, at + _EPOCH_2000 + shift)
        if era == self._crumb.era and not self._clock.known:
            age = self._clock.unix_ms() // 1000 - _EPOCH_2000 - at
        else:
            # Its era ended with a loss of power before the clock was set: it is as old as this
            # run at least, and nothing can tell how much older.
            age = self._clock.uptime_ms() // 1000
        return frame.restamp(data, frame.t_of_age(max(0, age)))

    def clock_set(self, step_ms: int) -> None:
        """Take note that the clock was not known and was put forward by `step_ms`."""
        if self._crumb.era:
            try:
                self._state.set_shift(self._crumb.era, (step_ms + 500) // 1000)
            except OSError as error:
                self._log.warning("spool", "state not saved, " + describe(error))
            self._crumb.era = 0
            self._crumb.save()

    def _era(self) -> int:
        if not self._crumb.era:
            self._crumb.era = self._state.new_era()
            self._crumb.save()
        return self._crumb.era
