"""ESP-IDF's non-volatile storage: a store over NOR flash, and partitions as bytes.

Reads what ESP-IDF and its generator write and writes what they read (format version 2). The order
of the writes is ESP-IDF's: cut off anywhere, a value is the older or the newer one.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from citynode.errors import CitynodeError
from citynode.image import nvsformat as fmt
from citynode.image.nvsformat import Entry, Kind, PageState
from citynode.image.nvspage import EraseSector, Page, Program, Read

Value = int | str | bytes

__all__ = [
    "Kind",
    "NvsError",
    "NvsStore",
    "Value",
    "build_partition",
    "read_partition",
    "used_bytes",
]

_MIN_PAGES = 3
_MAX_NAMESPACE = 254
_MAX_BLOB = 508_000
_MAX_STRING = 4000

# Names and codes: ESP-IDF's nvs.h.
_ERRORS = {
    "ESP_ERR_NVS_NOT_FOUND": 0x1102,
    "ESP_ERR_NVS_NOT_ENOUGH_SPACE": 0x1105,
    "ESP_ERR_NVS_INVALID_NAME": 0x1106,
    "ESP_ERR_NVS_KEY_TOO_LONG": 0x1109,
    "ESP_ERR_NVS_INVALID_LENGTH": 0x110C,
    "ESP_ERR_NVS_NO_FREE_PAGES": 0x110D,
    "ESP_ERR_NVS_VALUE_TOO_LONG": 0x110E,
}


class NvsError(CitynodeError):
    """What ESP-IDF would have returned: `name` and `code` (esp_err_t)."""

    def __init__(self, name: str, what: str) -> None:
        super().__init__(what)
        self.name = name
        self.code = _ERRORS[name]


@dataclass(frozen=True)
class _Place:
    page: Page
    at: int
    entry: Entry


class NvsStore:
    """The keys and values of one NVS partition of `size` bytes.

    `read(address, length)`, `program(address, data)` (which clears bits only) and
    `erase_sector(address)` work on the partition, from 0. All that a loss of power has left is
    put right at once; what cannot be read any more is dropped. `format_unusable` erases a
    partition that has no free page left, as MicroPython does at its start; without it that raises
    NvsError. Each `set` is in flash when it returns.
    """

    def __init__(
        self,
        read: Read,
        program: Program,
        erase_sector: EraseSector,
        size: int,
        *,
        format_unusable: bool = True,
    ) -> None:
        count = size // fmt.PAGE_SIZE
        if count < _MIN_PAGES:
            raise NvsError("ESP_ERR_NVS_INVALID_LENGTH", "NVS takes at least 12 KiB")
        self._all = [
            Page(number * fmt.PAGE_SIZE, read, program, erase_sector) for number in range(count)
        ]
        self._namespaces: dict[str, int] = {}
        self._values: dict[tuple[int, str], _Place] = {}
        self._chunks: dict[tuple[int, str, int], _Place] = {}
        self._used = sorted((p for p in self._all if p.in_use), key=lambda p: p.sequence)
        self._free = [p for p in self._all if not p.in_use]
        self._finish_freeing()
        if not self._free:
            if not format_unusable:
                raise NvsError("ESP_ERR_NVS_NO_FREE_PAGES", "the NVS partition has no free page")
            for page in self._all:
                page.erase()
            self._used, self._free = [], list(self._all)
        if not self._used:
            self._activate()
        self._scan(repair=True)

    # -- values ---------------------------------------------------------------------------------

    def open(self, namespace: str) -> None:
        """Make a namespace if there is none of that name; raises NvsError."""
        self._namespace(namespace)

    def namespaces(self) -> tuple[str, ...]:
        """Return the names, oldest first."""
        return tuple(self._namespaces)

    def items(self, namespace: str) -> dict[str, tuple[Kind, Value]]:
        """Return all keys of a namespace with their types and values."""
        index = self._namespaces.get(namespace)
        return {
            key: (_public(place.entry.kind), self._load(place))
            for (owner, key), place in self._values.items()
            if owner == index
        }

    def get(self, namespace: str, key: str, kind: Kind) -> Value | None:
        """Return a value (int, str, or bytes of a blob); None if there is none of that type."""
        place = self._values.get((self._namespaces.get(namespace, 0), key))
        if place is None or _public(place.entry.kind) is not kind:
            return None
        return self._load(place)

    def set(self, namespace: str, key: str, kind: Kind, value: Value) -> None:
        """Write a value, in place of one of any type; raises NvsError, and TypeError for a kind
        that does not go with the value, OverflowError for an integer out of range.
        """
        _check_name(key)
        index = self._namespace(namespace)
        old = self._values.get((index, key))
        if old is not None and _public(old.entry.kind) is kind and self._load(old) == value:
            return
        if kind is Kind.BLOB and isinstance(value, bytes):
            self._set_blob(index, key, value)
        elif kind is Kind.STRING and isinstance(value, str):
            data = value.encode() + b"\0"
            if len(data) > _MAX_STRING:
                raise NvsError("ESP_ERR_NVS_VALUE_TOO_LONG", f"the string {key} is too long")
            self._append(fmt.data_entry(index, key, kind, data), data)
        elif kind.width and isinstance(value, int):
            self._append(fmt.integer_entry(index, key, kind, value))
        else:
            raise TypeError(f"{kind.name} does not take {type(value).__name__}")
        self._scan(repair=True)

    def erase(self, namespace: str, key: str) -> bool:
        """Erase a key; return whether it was there."""
        place = self._values.get((self._namespaces.get(namespace, 0), key))
        if place is None:
            return False
        self._forget(place)  # a blob's index first: its chunks are then nobody's
        self._scan(repair=True)
        return True

    def erase_all(self, namespace: str) -> None:
        """Erase all keys of a namespace; its name stays."""
        for key in self.items(namespace):
            self.erase(namespace, key)

    def commit(self) -> None:
        """Do nothing: as in ESP-IDF, `set` has written already."""

    # -- reading --------------------------------------------------------------------------------

    def _load(self, place: _Place) -> Value:
        entry = place.entry
        if entry.kind is Kind.BLOB:
            chunks = [
                self._chunks[entry.namespace, entry.key, number] for number in _chunk_numbers(entry)
            ]
            return b"".join(chunk.page.data(chunk.at, chunk.entry) for chunk in chunks)
        if entry.kind.width:
            return entry.integer
        data = place.page.data(place.at, entry)
        if entry.kind is Kind.STRING:
            return data.split(b"\0")[0].decode("utf-8", "replace")
        return data

    def _scan(self, *, repair: bool = False) -> None:
        """Find all that is stored, from the oldest page to the newest; the later one counts.

        With `repair`, erase what is out of date: what a loss of power has left, or what the value
        just written has replaced.
        """
        self._namespaces.clear()
        self._values.clear()
        self._chunks.clear()
        stale: list[_Place] = []
        values: list[_Place] = []
        for page in self._used:
            for at, entry in page.entries():
                place = _Place(page, at, entry)
                if entry.namespace == 0:
                    if entry.kind is Kind.U8:
                        self._namespaces[entry.key] = entry.integer
                elif entry.kind is Kind.BLOB_DATA:
                    key = (entry.namespace, entry.key, entry.chunk)
                    if key in self._chunks:
                        stale.append(self._chunks[key])
                    self._chunks[key] = place
                else:
                    values.append(place)
        wanted: dict[tuple[int, str], set[int]] = {}
        for place in values:
            if not self._is_whole(place.entry):
                stale.append(place)
                continue
            owner = (place.entry.namespace, place.entry.key)
            if owner in self._values:
                stale.append(self._values[owner])
            self._values[owner] = place
            wanted[owner] = set(_chunk_numbers(place.entry))
        for each in list(self._chunks):
            if each[2] not in wanted.get(each[:2], ()):
                stale.append(self._chunks.pop(each))
        if repair:
            for place in stale:
                self._forget(place)

    def _is_whole(self, entry: Entry) -> bool:
        """Tell whether all chunks are there, with the right size, if it is the index of a blob."""
        if entry.kind is not Kind.BLOB:
            return True
        found = [
            self._chunks.get((entry.namespace, entry.key, number))
            for number in _chunk_numbers(entry)
        ]
        size = sum(place.entry.data_size for place in found if place is not None)
        return None not in found and size == entry.blob_index[0]

    # -- writing --------------------------------------------------------------------------------

    def _namespace(self, name: str) -> int:
        index = self._namespaces.get(name)
        if index is not None:
            return index
        _check_name(name)
        taken = set(self._namespaces.values())
        index = next((each for each in range(1, _MAX_NAMESPACE + 1) if each not in taken), None)
        if index is None:
            raise NvsError("ESP_ERR_NVS_NOT_ENOUGH_SPACE", "there are too many namespaces")
        self._append(fmt.integer_entry(0, name, Kind.U8, index))
        self._namespaces[name] = index
        return index

    def _append(self, entry: Entry, data: bytes = b"") -> None:
        """Write to the active page, or to the next one if it does not fit."""
        for _ in self._all:
            if self._used[-1].room >= entry.span:
                break
            self._next_page()
        else:
            raise NvsError("ESP_ERR_NVS_NOT_ENOUGH_SPACE", "the NVS partition is full")
        self._used[-1].append(entry, data)

    def _set_blob(self, namespace: int, key: str, data: bytes) -> None:
        if len(data) > min(_MAX_BLOB, (len(self._all) - 1) * fmt.CHUNK_MAX):
            raise NvsError("ESP_ERR_NVS_VALUE_TOO_LONG", f"the blob {key} is too long")
        old = self._values.get((namespace, key))
        start = fmt.CHUNK_STARTS[0]
        if old is not None and old.entry.kind is Kind.BLOB:
            start = fmt.CHUNK_STARTS[old.entry.blob_index[2] == start]
        count = 0
        rest = data
        try:
            while rest or not count:
                room = (self._used[-1].room - 1) * fmt.ENTRY_SIZE
                if room < min(len(rest), fmt.CHUNK_MAX // 10) or room < 0:
                    self._next_page()
                    room = (self._used[-1].room - 1) * fmt.ENTRY_SIZE
                    if room < min(len(rest), fmt.ENTRY_SIZE) or room < 0:
                        raise NvsError("ESP_ERR_NVS_NOT_ENOUGH_SPACE", "the NVS partition is full")
                chunk, rest = rest[:room], rest[room:]
                number = start + count
                self._append(fmt.data_entry(namespace, key, Kind.BLOB_DATA, chunk, number), chunk)
                count += 1
            self._append(fmt.index_entry(namespace, key, len(data), count, start))
        except NvsError:
            self._scan(repair=True)  # chunks without an index go
            raise

    def _forget(self, place: _Place) -> None:
        place.page.forget(place.at, place.entry.span)

    # -- pages ----------------------------------------------------------------------------------

    def _activate(self) -> Page:
        page = self._free.pop(0)
        page.activate(self._used[-1].sequence + 1 if self._used else 0)
        self._used.append(page)
        return page

    def _next_page(self) -> None:
        """Close the active page and open one; one page always stays free for the next move."""
        self._used[-1].mark(PageState.FULL)
        if len(self._free) >= 2:
            self._activate()
            return
        source = max(self._used, key=lambda page: page.reclaimable)
        if not source.reclaimable:
            raise NvsError("ESP_ERR_NVS_NOT_ENOUGH_SPACE", "the NVS partition is full")
        # Marked first: with the free page taken and nothing marked, none would be free.
        source.mark(PageState.FREEING)
        self._activate()
        self._move(source)
        self._scan()

    def _move(self, source: Page) -> None:
        """Copy what counts in a page to the newest one, and erase it."""
        target = self._used[-1]
        for at, entry in list(source.entries()):
            data = source.data(at, entry) if entry.kind.has_data else b""
            target.append(entry, data)
        source.erase()
        self._used.remove(source)
        self._free.append(source)

    def _finish_freeing(self) -> None:
        """Do a move again in which power was lost; the copy is not whole, so it goes."""
        for source in [page for page in self._used if page.state is PageState.FREEING]:
            newest = self._used[-1]
            if newest is not source and newest.state is PageState.ACTIVE:
                newest.erase()
                self._used.remove(newest)
                self._free.append(newest)
            if self._free:
                self._activate()
                self._move(source)


def read_partition(data: bytes) -> dict[str, dict[str, tuple[Kind, Value]]]:
    """Return namespaces, keys, types and values of a partition's bytes, which may be anything.

    Raises NvsError when it has no free page or is too small.
    """
    cells = _Cells(data)
    store = NvsStore(cells.read, cells.program, cells.erase, len(data), format_unusable=False)
    return {name: store.items(name) for name in store.namespaces()}


def build_partition(size: int, values: Mapping[str, Mapping[str, tuple[Kind, Value]]]) -> bytes:
    """Return a partition of `size` bytes with these namespaces and keys; raises NvsError."""
    cells = _Cells(b"\xff" * size)
    store = NvsStore(cells.read, cells.program, cells.erase, size)
    for namespace, items in values.items():
        store.open(namespace)
        for key, (kind, value) in items.items():
            store.set(namespace, key, kind, value)
    return bytes(cells.data)


def used_bytes(data: bytes) -> int:
    """Return how much of a partition's bytes its entries take, and the headers of their pages."""
    pages = [
        Page(at, lambda at, size: data[at : at + size], lambda at, new: None, lambda at: None)
        for at in range(0, len(data) - fmt.PAGE_SIZE + 1, fmt.PAGE_SIZE)
    ]
    return sum(
        fmt.ENTRIES_AT + fmt.ENTRY_SIZE * sum(entry.span for _, entry in page.entries())
        for page in pages
        if page.in_use
    )


class _Cells:
    """NOR flash in memory."""

    def __init__(self, data: bytes) -> None:
        self.data = bytearray(data)

    def read(self, address: int, length: int) -> bytes:
        return bytes(self.data[address : address + length])

    def program(self, address: int, data: bytes) -> None:
        for number, byte in enumerate(data, address):
            self.data[number] &= byte

    def erase(self, address: int) -> None:
        self.data[address : address + fmt.PAGE_SIZE] = b"\xff" * fmt.PAGE_SIZE


def _chunk_numbers(entry: Entry) -> range:
    if entry.kind is not Kind.BLOB:
        return range(0)
    _, count, start = entry.blob_index
    return range(start, start + count)


def _public(kind: Kind) -> Kind:
    return Kind.BLOB if kind is Kind.BLOB_V1 else kind


def _check_name(name: str) -> None:
    if not name or not name.isascii() or "\0" in name:
        raise NvsError("ESP_ERR_NVS_INVALID_NAME", f"{name!r} is no name for NVS")
    if len(name) > fmt.KEY_SIZE:
        raise NvsError("ESP_ERR_NVS_KEY_TOO_LONG", f"{name!r} is longer than 15 characters")
