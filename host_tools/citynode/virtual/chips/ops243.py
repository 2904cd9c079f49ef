"""OmniPreSense OPS243-A: Doppler radar (API interface AN-010, user manual UM-003), on a UART.

Where nobody knows what is before it, nothing moves.
"""

import json

from citynode.virtual.chips import Targets, Timeline
from citynode.virtual.chips.uart import NS, SerialChip

_SAMPLES = 1024
_RATES = {"SI": 1000, "SV": 5000, "SX": 10_000, "S2": 20_000, "SL": 50_000, "SC": 100_000}
# Command: name of the unit in answers and in reports, how many are 1 m/s.
_UNITS = {
    "UC": ("cm-per-sec", "cmps", 100.0),
    "UF": ("ft-per-sec", "fps", 3.28084),
    "UK": ("km-per-hr", "kmph", 3.6),
    "UM": ("m-per-sec", "mps", 1.0),
    "US": ("mph", "mph", 2.236936),
}
_FACTORY = {"unit": "UM", "rate": "SX", "decimals": "1", "reports": "1", "on": "", "blank": ""}
_BOOT_NS = NS
_WAVE_M = 299_792_458 / 24.125e9


class OPS243(SerialChip):
    """The radar; `saved` is what it starts with: unit, rate, decimals, reports, on, blank.

    `on` has the letters of the outputs that are on: J (JSON), M (magnitude), U (unit).
    `faults` beside those of `SerialChip`: "numbers" (JSON with numbers for texts), "deaf".
    """

    noise = b'\xf2{"spe\x00\n'
    product = "OPS243"

    def __init__(self, timeline: Timeline, seen: Targets, *, saved: dict[str, str] | None = None):
        super().__init__(timeline, 19200)
        self.saved = _FACTORY | (saved or {})
        self._seen = seen
        self._heard = ""
        self.start()

    def start(self) -> None:
        """Start with what was saved, and tell who it is."""
        self.settings = dict(self.saved)
        self._heard = ""
        self.later(self.now + _BOOT_NS, self._boot)

    def spoilt(self, data: bytes) -> bytes:
        """Return a line of which a part is missing."""
        return data[: len(data) // 3] + data[len(data) // 2 :]

    def hear(self, data: bytes) -> None:
        """Take commands of two letters; ends of lines between them are nothing."""
        if "deaf" in self.faults:
            return
        self._heard += data.decode("latin-1").replace("\r", "").replace("\n", "")
        while len(self._heard) >= 2:
            command, self._heard = self._heard[:2], self._heard[2:]
            answer = self._do(command)
            if answer is not None:
                self._tell(json.dumps(answer, separators=(",", ":")))

    def _do(self, command: str) -> dict[str, str | int] | None:
        group, letter = command[0], command[1]
        if command == "?P":
            return {"Product": self.product}
        if command == "A!":
            self.saved = dict(self.settings)
        elif command == "U?":
            return {"Units": _UNITS[self.settings["unit"]][0]}
        elif command in _UNITS:
            self.settings["unit"] = command
            return {"Units": _UNITS[command][0]}
        elif command in _RATES:
            self.settings["rate"] = command
            return {"SamplingRate": _RATES[command]}
        elif group == "F" and letter in "012345":
            self.settings["decimals"] = letter
        elif group == "B" and letter in "ZLSCTV":
            self.settings["blank"] = letter
        elif group == "O" and letter in "123456789":
            self.settings["reports"] = letter
        elif group == "O":
            on = self.settings["on"].replace(letter.upper(), "")
            self.settings["on"] = on + letter if letter.isupper() else on
            return {"OutputFeature": letter}
        return None

    def _tell(self, text: str) -> None:
        self.say(text.encode() + b"\r\n")

    def _boot(self) -> None:
        self._tell(json.dumps({"Product": self.product}))
        self._tell('{"Version":"1.3.1"}')
        self._tick()

    def _tick(self) -> None:
        rate = _RATES[self.settings["rate"]]
        self.later(self.now + _SAMPLES * NS // rate, self._tick)
        step = rate / _SAMPLES * _WAVE_M / 2 * 1000
        seen = [(round(v / step) * step, m) for v, m in self._seen(self.now) or ()]
        seen = [row for row in seen if row[0]]
        seen.sort(key=lambda row: -row[1])
        seen = seen[: int(self.settings["reports"])]
        if seen:
            self._report(seen)
        elif self.settings["blank"] == "Z":
            self._report([(0.0, 0)])

    def _report(self, seen: list[tuple[float, int]]) -> None:
        _, name, factor = _UNITS[self.settings["unit"]]
        decimals, on = int(self.settings["decimals"]), self.settings["on"]
        speeds = [f"{mms / 1000 * factor:.{decimals}f}" for mms, _ in seen]
        sizes = [f"{size:.{decimals}f}" for _, size in seen]
        if "J" not in on:
            for speed, size in zip(speeds, sizes, strict=True):
                self._tell(f"{size},{speed}" if "M" in on else speed)
            return
        fields: list[tuple[str, list[str]]] = [("magnitude", sizes)] if "M" in on else []
        fields.append(("speed", speeds))
        report: dict[str, object] = {"unit": name} if "U" in on else {}
        for key, values in fields:
            told = [float(value) for value in values] if "numbers" in self.faults else values
            report[key] = told[0] if self.settings["reports"] == "1" else told
        self._tell(json.dumps(report, separators=(",", ":")))
