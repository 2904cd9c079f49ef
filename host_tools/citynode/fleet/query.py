"""Which nodes of a fleet are meant: names, globs and properties, as a condition of SQL."""

# ruff: noqa: S608 -- what is not ours is bound to names, never put into the text
import re
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from citynode.errors import CitynodeError
from citynode.fleet.node import GIVEN, NUMBERS, Result, Stage, Status

MISSING = "missing"
_COLUMNS = (*GIVEN, "status")


@dataclass(frozen=True)
class Filter:
    """Nodes that all given properties hold for, and one of the names, if there are any."""

    names: Sequence[str] = ()
    batch: str | None = None
    site: str | None = None
    stage: str | None = None
    status: str | None = None
    where: Sequence[str] = ()

    @property
    def is_empty(self) -> bool:
        """Whether every node is meant."""
        return self == Filter()


def condition(wanted: Filter, more_columns: Sequence[str]) -> tuple[str, dict[str, object]]:
    """Return a condition on the table `node` and its values.

    `more_columns` are those that came with imports. Raises CitynodeError for what does not exist.
    """
    parts, values = ["1"], _Values()
    if wanted.names:
        parts.append(" OR ".join(_named(name, values) for name in wanted.names))
    for column in ("batch", "site"):
        if (value := getattr(wanted, column)) is not None:
            parts.append(f"{column} = {values.bind(value)}")
    if wanted.status is not None:
        _check(wanted.status, list(Status), "--status")
        parts.append(f"status = {values.bind(wanted.status)}")
    if wanted.stage is not None:
        parts.append(_staged(wanted.stage, values))
    parts.extend(_where(each, more_columns, values) for each in wanted.where)
    return " AND ".join(f"({part})" for part in parts), values


class _Values(dict[str, object]):
    """What stands for the names in a statement."""

    def bind(self, value: object) -> str:
        name = f"v{len(self)}"
        self[name] = value
        return f":{name}"


def _named(name: str, values: _Values) -> str:
    """Match a node id or glob, a MAC or a DevEUI in any of the usual ways to write them."""
    digits = values.bind(re.sub(r"[:-]", "", name).lower())
    match = "GLOB" if set(name) & set("*?[") else "="
    return f"node_id {match} {values.bind(name)} OR mac = {digits} OR dev_eui = {digits}"


def _staged(wanted: str, values: _Values) -> str:
    stage, _, outcome = wanted.partition("=")
    _check(stage, list(Stage), "--stage")
    _check(outcome or Result.PASS, [MISSING, *Result], f"--stage {stage}=")
    found = f"SELECT node FROM stage WHERE stage = {values.bind(stage)}"
    if outcome == MISSING:  # not passed, whether tried or not
        return f"id NOT IN ({found} AND outcome = 'PASS')"
    return f"id IN ({found} AND outcome = {values.bind(outcome or Result.PASS)})"


def _where(each: str, more_columns: Sequence[str], values: _Values) -> str:
    key, equals, value = each.partition("=")
    if not equals:
        raise CitynodeError(f"--where {each} has no =", "give --where KEY=VALUE")
    if key in _COLUMNS:
        column = key
    elif key in more_columns:
        path = '$."' + key.replace("\\", "\\\\").replace('"', '\\"') + '"'
        column = f"json_extract(extra, {values.bind(path)})"
    else:
        raise _unknown(key, [*_COLUMNS, *more_columns], "--where")
    if not value:
        return f"{column} IS NULL OR {column} = ''"
    if key not in NUMBERS:
        return f"{column} = {values.bind(value)}"
    try:
        return f"{column} = {values.bind(float(value))}"
    except ValueError:
        raise CitynodeError(f"--where {key}: {value!r} is no number", "give degrees") from None


def _check(value: str, known: Sequence[str], option: str) -> None:
    if value not in known:
        raise _unknown(value, known, option)


def _unknown(value: str, known: Sequence[str], option: str) -> CitynodeError:
    near = get_close_matches(value, known, 1)
    hint = f"did you mean {near[0]}? " if near else ""
    return CitynodeError(f"{option}: {value!r} is not known", f"{hint}known are {', '.join(known)}")
