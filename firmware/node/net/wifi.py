"""WiFi as a station: keeps the link up, waits longer after each failure, blocks nobody."""

import asyncio

from node.wire.const import const

_POLL_MS = const(100)
_WATCH_MS = const(5000)
_CONNECT_MS = const(20000)
# The driver forgets why the attempt before this one failed only when one succeeds: what it says at
# first may be that, and a scan takes so long.
_STALE_MS = const(3000)
_FIRST_DELAY_MS = const(1000)
_LONGEST_DELAY_MS = const(120000)
_SLACK_MS = const(30000)


class Wifi:
    """Connects `wlan` (a station interface) with `ssid` and `key`.

    `up` is an Event: set while there is an address. `failures` maps the interface's status codes
    that mean failure to short texts; `rng()` gives 0…1 for the jitter of the waits.
    """

    def __init__(self, wlan, ssid: str, key: str, failures, clock, rng, counters, log) -> None:
        self._wlan = wlan
        self._ssid = ssid
        self._key = key
        self._failures = failures
        self._clock = clock
        self._rng = rng
        self._counters = counters
        self._log = log
        self._renew = False
        self.up = asyncio.Event()

    def renew(self) -> None:
        """Have the link taken down and made again."""
        self._renew = True

    def rssi(self):
        """Return the signal's strength in dBm, None while there is none."""
        if not self.up.is_set():
            return None
        try:
            return self._wlan.status("rssi")
        except OSError:
            return None

    async def run(self, progress) -> None:
        """Keep the link up for ever."""
        delay = _FIRST_DELAY_MS
        again = False
        while True:
            progress.within(_CONNECT_MS + _SLACK_MS)
            failure = await self._connect()
            if failure is None:
                if again:
                    self._counters.link_reconnects += 1
                again = True
                delay = _FIRST_DELAY_MS
                self.up.set()
                self._log.info("wifi", "connected rssi %s" % self.rssi())
                await self._watch(progress)
                self.up.clear()
                self._log.warning("wifi", "lost")
            else:
                self._log.warning("wifi", failure)
            wait = int(delay * (0.5 + self._rng()))
            delay = min(2 * delay, _LONGEST_DELAY_MS)
            progress.within(wait + _SLACK_MS)
            await self._clock.sleep_ms(wait)

    async def _connect(self):
        # Return None when connected, else a text that says why not.
        wlan = self._wlan
        try:
            wlan.active(True)
            if wlan.isconnected():
                # The driver kept it, across a soft reset or by itself.
                return None
            # The waits between attempts are ours: the driver's own would retry without any.
            wlan.config(reconnects=0)
            wlan.connect(self._ssid, self._key)
            for polls in range(_CONNECT_MS // _POLL_MS):
                await self._clock.sleep_ms(_POLL_MS)
                if wlan.isconnected():
                    return None
                if polls < _STALE_MS // _POLL_MS:
                    continue
                status = wlan.status()
                if status in self._failures:
                    return self._failures[status]
            wlan.disconnect()
            return "no answer"
        except OSError as error:
            # The driver refuses in states it cannot leave by itself: start it anew.
            wlan.active(False)
            return "driver error %s" % (error.args[0] if error.args else "")

    async def _watch(self, progress) -> None:
        while self._wlan.isconnected() and not self._renew:
            progress.within(_WATCH_MS + _SLACK_MS)
            await self._clock.sleep_ms(_WATCH_MS)
        if self._renew:
            self._renew = False
            try:
                self._wlan.disconnect()
            except OSError:
                pass
