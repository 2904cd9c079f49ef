"""The bench map: which boards there are, at which ports, and what hangs on them.

A YAML list as Zephyr's twister keeps one; a person writes into it, and making it anew merges.
"""

import io
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any

from pydantic import ConfigDict, Field, field_validator
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import YAMLError
from ruamel.yaml.scalarstring import DoubleQuotedScalarString

from citynode.bench.power import Power
from citynode.errors import CitynodeError
from citynode.link.ports import key
from citynode.tomlfile import Table, check

UNKNOWN = "unknown"  # the platform of a board that nobody has named yet
_MAC = re.compile(r"[0-9a-f]{12}")
_MAX_BYTES = 1 << 20
_HEAD = """\
# The bench: an entry for each board, told by its MAC. 'citynode bench init' brings serial, chip and
# connected up to date and leaves all else as it is. Yours to write: platform (see 'citynode
# boards'), fixtures, baud, power, notes.
"""


class Place(Table):
    """A board of the bench.

    `id` is its MAC (12 hex digits), `serial` its port, `platform` the id of a board file,
    `connected` whether it was there when the map was made, `fixtures` what hangs on it, `baud` the
    fastest its line bears, `power` what switches its supply.
    """

    model_config = ConfigDict(extra="ignore")

    id: Annotated[str, Field(pattern=_MAC.pattern)]
    serial: Annotated[str, Field(min_length=1, max_length=512)]
    platform: Annotated[str, Field(min_length=1, max_length=256)] = UNKNOWN
    chip: str | None = None
    connected: bool = True
    fixtures: tuple[str, ...] = ()
    baud: Annotated[int, Field(ge=9600, le=4_000_000)] | None = None
    power: Annotated[Power | None, Field(discriminator="kind")] = None
    notes: str | None = None

    @field_validator("id", mode="before")
    @classmethod
    def _plain_mac(cls, value: object) -> object:
        """Take a MAC in any of the usual ways; YAML makes a number of one without letters."""
        if isinstance(value, int) and not isinstance(value, bool):
            return f"{value:012d}"
        return re.sub("[:-]", "", value).lower() if isinstance(value, str) else value

    @field_validator("serial", "platform", "notes", mode="before")
    @classmethod
    def _plain_text(cls, value: object) -> object:
        return str(value) if isinstance(value, str) else value

    @field_validator("fixtures", mode="before")
    @classmethod
    def _listed(cls, value: object) -> object:
        return tuple(map(str, value)) if isinstance(value, list) else value

    @field_validator("baud", mode="before")
    @classmethod
    def _plain_number(cls, value: object) -> object:
        return int(value) if isinstance(value, int) and not isinstance(value, bool) else value


@dataclass(frozen=True)
class Seen:
    """A board that was met at a port: MAC (12 hex digits), chip, and the port's stable name."""

    mac: str
    chip: str
    serial: str


@dataclass
class Changes:
    """What making a map anew has changed, as MACs."""

    new: list[str]
    moved: list[str]
    gone: list[str]


class BenchMap:
    """A map in memory; what a person wrote into the file stays where it was.

    `places` are the boards in the file's order, `strange` the keys that mean nothing to citynode.
    """

    def __init__(self, path: Path, document: CommentedSeq | None = None) -> None:
        self.path = path
        self._document = document if document is not None else CommentedSeq()
        self._is_new = document is None
        self.places: list[Place] = []
        self.strange: list[str] = []
        self._read()

    @classmethod
    def load(cls, path: Path) -> "BenchMap":
        """Read a map; raises CitynodeError that names file, entry and key."""
        try:
            with path.open("rb") as file:
                raw = file.read(_MAX_BYTES + 1)
        except OSError as error:
            raise CitynodeError(
                f"cannot read {path}: {os.strerror(error.errno or 0)}",
                "make a map with 'citynode bench init', or name another",
            ) from None
        if len(raw) > _MAX_BYTES:
            raise CitynodeError(f"{path} is larger than 1 MiB", "name a bench map")
        try:
            document = _yaml().load(raw.decode("utf-8"))
        except UnicodeDecodeError:
            raise CitynodeError(f"{path} is not UTF-8 text", "name a bench map") from None
        except (YAMLError, ValueError, RecursionError) as error:
            raise CitynodeError(f"{path} is not valid YAML{_line(error)}", "correct it") from None
        if document is None:
            return cls(path)
        if not isinstance(document, CommentedSeq):
            raise CitynodeError(f"{path} is no list of boards", "see docs/bench.md")
        return cls(path, document)

    def of(self, mac: str) -> Place | None:
        """Return the board with this MAC (12 hex digits)."""
        return next((place for place in self.places if place.id == mac), None)

    def at(self, port: str) -> Place | None:
        """Return the board that the map has at a port, by whatever name of the port."""
        wanted = key(port)
        return next((place for place in self.places if key(place.serial) == wanted), None)

    def merge(
        self, seen: Sequence[Seen], looked_at: Iterable[str], platforms: Mapping[str, str]
    ) -> Changes:
        """Bring the map up to date with the boards that were met at the ports `looked_at`.

        A board that the map has at such a port and that was not met is no longer connected.
        `platforms` names the board file for a chip, for boards that have none yet.
        """
        changes = Changes([], [], [])
        met = {each.mac: each for each in seen}
        searched = set(map(key, looked_at))
        for entry, place in zip(self._document, self.places, strict=True):
            found = met.pop(place.id, None)
            if found is not None:
                if key(place.serial) != key(found.serial):
                    changes.moved.append(place.id)
                self._update(entry, found, platforms)
            elif key(place.serial) in searched and place.connected:
                changes.gone.append(place.id)
                _put(entry, "connected", False, 1)
        for found in met.values():
            entry = CommentedMap()
            entry["id"] = DoubleQuotedScalarString(found.mac)
            self._update(entry, found, platforms)
            self._document.append(entry)
            changes.new.append(found.mac)
        self._read()
        return changes

    def text(self) -> str:
        """Return the map as it is to be in the file."""
        out = io.StringIO()
        if self._is_new:
            out.write(_HEAD)
        _yaml().dump(self._document, out)
        return out.getvalue()

    def _update(self, entry: CommentedMap, found: Seen, platforms: Mapping[str, str]) -> None:
        if "serial" not in entry or key(str(entry["serial"])) != key(found.serial):
            _put(entry, "serial", found.serial, 1)
        platform = platforms.get(found.chip, UNKNOWN)
        if entry.get("platform", UNKNOWN) == UNKNOWN != platform or "platform" not in entry:
            _put(entry, "platform", platform, 2)
        if entry.get("chip") != found.chip:
            _put(entry, "chip", found.chip, 3)
        if entry.get("connected", True) is not True or "connected" not in entry:
            _put(entry, "connected", True, 4)

    def _read(self) -> None:
        self.places, self.strange = [], []
        owners: dict[str, str] = {}
        for number, entry in enumerate(self._document, 1):
            where = f"{self.path}: board {number}"
            if not isinstance(entry, CommentedMap):
                raise CitynodeError(f"{where} is no table", "begin it with '- id: MAC'")
            self._look_at_keys(where, entry)
            place = check(where, _plain(entry), Place)
            mine = [f"id {place.id}"]
            if place.connected:
                mine.append(f"port {key(place.serial)}")
            for each in mine:
                if each in owners:
                    raise CitynodeError(
                        f"{where} has the {each.partition(' ')[0]} of {owners[each]}",
                        "correct it, or say 'connected: false'",
                    )
                owners[each] = f"board {number}"
            self.places.append(place)

    def _look_at_keys(self, where: str, entry: CommentedMap) -> None:
        for name in map(str, entry):
            if name in Place.model_fields:
                continue
            near = get_close_matches(name, [*Place.model_fields], 1, 0.75)
            if near:
                raise CitynodeError(f"{where}: unknown key {name}", f"did you mean {near[0]}?")
            self.strange.append(f"{where}: {name}")


def stable_name(device: str, folder: Path = Path("/dev/serial/by-path")) -> str:
    """Return a port's name that stays when others are plugged in: where it is, not what.

    Serial numbers are no help: those of cheap bridges are all the same. Names end in `-port0`; of
    several for one port the shortest is the one that all versions of udev make.
    """
    if "://" in device:
        return device
    try:
        names = [str(link) for link in folder.iterdir() if key(str(link)) == key(device)]
    except OSError:
        names = []
    return min(names, key=lambda name: (len(name), name), default=device)


def _yaml() -> YAML:
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 4096  # no line of a person is folded
    return yaml


def _put(entry: CommentedMap, name: str, value: object, place: int) -> None:
    """Set a key; a new one goes before what a person wrote last, which a comment may follow."""
    if name in entry:
        entry[name] = value
    else:
        entry.insert(min(place, len(entry)), name, value)


def _plain(value: Any) -> Any:
    """Return what the YAML library has read without its memory of how it was written."""
    if isinstance(value, dict):
        return {str(name): _plain(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_plain(each) for each in value]
    if isinstance(value, bool) or value is None:
        return value
    for kind in (str, int, float):
        if isinstance(value, kind):
            return kind(value)
    return value


def _line(error: Exception) -> str:
    mark = getattr(error, "problem_mark", None)
    return f" in line {mark.line + 1}" if mark is not None else ""
