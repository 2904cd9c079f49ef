"""What a board says of its self-test, and how it is read: any bytes give items."""

import json
from collections.abc import Mapping
from dataclasses import dataclass

from citynode.bench.outcome import Verdict
from citynode.link.errors import LinkError

_MOST = 64  # values of one item
_NAME = 64
_TEXT = 200
_EXACT = 1 << 53
# What ends the link to a board that may still be there.
HUNG = ("no_repl", "silent")


@dataclass(frozen=True)
class Item:
    """One measured value with its limits, in its own unit; None where there is none."""

    name: str
    verdict: Verdict
    value: float | None = None
    unit: str = ""
    low: float | None = None
    high: float | None = None
    detail: str = ""

    def to_json(self) -> dict[str, object]:
        """Return what JSON can hold."""
        return {
            "item": self.name,
            "verdict": self.verdict.value,
            "value": self.value,
            "unit": self.unit,
            "low": self.low,
            "high": self.high,
            "detail": self.detail,
        }

    def told(self) -> str:
        """Return the item in words: its name, value, limits and detail."""
        words = [self.name]
        if self.value is not None:
            words.append(f"is {amount(self.value)} {self.unit}".rstrip())
        if self.verdict is not Verdict.PASS and (limits := self.limits()):
            words.append(f"(has to be {limits})")
        return " ".join(words) + (f": {self.detail}" if self.detail else "")

    def limits(self) -> str:
        """Return the limits in words, nothing where there are none."""
        low, high = self.low, self.high
        if low is not None and high is not None:
            return amount(low) if low == high else f"{amount(low)} … {amount(high)}"
        if low is not None:
            return f"≥ {amount(low)}"
        return f"≤ {amount(high)}" if high is not None else ""


def amount(value: float) -> str:
    """Return a number as a person writes it."""
    return f"{value:,.3f}".rstrip("0").rstrip(".") if value % 1 else f"{value:,.0f}"


def broken(name: str, error: LinkError) -> Item:
    """Return the item that a broken link makes of one."""
    if error.kind == "stopped":
        return Item(name, Verdict.ABORTED, detail="stopped")
    if error.kind in HUNG:
        return Item(name, Verdict.TIMEOUT, detail="the board did not answer any more")
    return Item(name, Verdict.ERROR, detail=_clean(error.what, _TEXT))


def parse(said: str) -> tuple[list[Item], bool]:
    """Return the items in what a board printed, and whether it has more to say; total.

    What is no item is passed over: other parts of a firmware print, too.
    """
    items: list[Item] = []
    more = False
    for found in objects(said):
        if "more" in found:
            more = True
        elif isinstance(name := found.get("item"), str) and name and len(items) < _MOST:
            items.append(_item(name, found))
    return items, more


def _item(name: str, found: Mapping[str, object]) -> Item:
    detail = _clean(found.get("detail"), _TEXT)
    try:
        verdict = Verdict(str(found.get("verdict")))
    except ValueError:
        verdict, detail = Verdict.ERROR, "a verdict that is none"
    return Item(
        _clean(name, _NAME),
        verdict,
        _number(found.get("value")),
        _clean(found.get("unit"), _NAME),
        _number(found.get("low")),
        _number(found.get("high")),
        detail,
    )


def objects(said: str) -> list[dict[str, object]]:
    """Return the JSON objects in lines; one may come behind something else in its line."""
    found = []
    decoder = json.JSONDecoder()
    for line in said.splitlines():
        at = line.find("{")
        if at < 0:
            continue
        try:
            value, _ = decoder.raw_decode(line, at)
        except (ValueError, RecursionError):
            continue
        if isinstance(value, dict):
            found.append(value)
    return found


def _number(value: object) -> float | None:
    """Return a number that everything can hold."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return value if abs(value) <= _EXACT else None  # NaN and infinity are neither


def _clean(text: object, longest: int) -> str:
    """Return one short line without anything that moves a cursor; nothing of what is no text."""
    if not isinstance(text, str):
        return ""
    return "".join(each if each.isprintable() else "?" for each in text)[:longest]
