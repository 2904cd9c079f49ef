"""The serial log: one short line an event, `<level> <uptime s>.<ms> <tag>: <text>`.

Nothing secret is ever given to it: names and passwords of networks and brokers stay with those
who use them. A text is cut at 240 characters, the longest frame in hexadecimal and some.
"""

LEVELS = ("debug", "info", "warning", "error")
_LETTERS = "DIWE"
_LONGEST = 240


class Log:
    """Writes lines of at least `level` (an index of LEVELS) with `write(text)`."""

    def __init__(self, write, clock, level: int = 1) -> None:
        self._write = write
        self._clock = clock
        self.level = level

    def _line(self, level: int, tag: str, text: str) -> None:
        if level < self.level:
            return
        up = self._clock.uptime_ms()
        if len(text) > _LONGEST:
            text = text[:_LONGEST]
        self._write("%s %d.%03d %s: %s\n" % (_LETTERS[level], up // 1000, up % 1000, tag, text))

    def debug(self, tag: str, text: str) -> None:
        """Write what only helps while looking for a fault."""
        self._line(0, tag, text)

    def info(self, tag: str, text: str) -> None:
        """Write what happened in the normal course."""
        self._line(1, tag, text)

    def warning(self, tag: str, text: str) -> None:
        """Write what went wrong and was dealt with."""
        self._line(2, tag, text)

    def error(self, tag: str, text: str) -> None:
        """Write what went wrong and cost something."""
        self._line(3, tag, text)


def describe(error: BaseException) -> str:
    """Return an exception as one short text: its type and what it carries."""
    text = str(error)
    name = type(error).__name__
    return name + ": " + text if text else name
