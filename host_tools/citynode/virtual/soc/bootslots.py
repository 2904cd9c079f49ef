"""The second stage's choice among the app partitions, with the rollback of updates.

MicroPython's builds have the rollback on (`BOOTLOADER_APP_ROLLBACK_ENABLE`): a new app is booted
once, and unless it has declared itself good by the next reset, the app before it comes back.
Source: ESP-IDF Programming Guide, "Over The Air Updates".
"""

from collections.abc import Iterator

from citynode.image import otadata
from citynode.image.otadata import RECORD_SIZE, Record
from citynode.image.partitions import (
    APP_FACTORY,
    APP_OTA_0,
    APP_TEST,
    DATA_OTA,
    SECTOR_SIZE,
    TYPE_APP,
    TYPE_DATA,
    Partition,
)
from citynode.virtual.soc.flash import NorFlash

_OTA_SLOTS = 16
_FACTORY = -1


class OtaDataError(Exception):
    """The second stage cannot read the OTA data and restarts; the text is its own."""


class AppSlots:
    """The app partitions of a table. Of two partitions for the same purpose the later counts."""

    def __init__(self, flash: NorFlash, table: tuple[Partition, ...]) -> None:
        self._flash = flash
        self._factory: Partition | None = None
        self._test: Partition | None = None
        self._ota_data: Partition | None = None
        self._slots: dict[int, Partition] = {}
        self._count = 0
        self._start = _FACTORY
        self._fresh = False
        for each in table:
            if (each.type, each.subtype) == (TYPE_DATA, DATA_OTA):
                self._ota_data = each
            elif each.type != TYPE_APP:
                continue
            elif each.subtype == APP_FACTORY:
                self._factory = each
            elif each.subtype == APP_TEST:
                self._test = each
            elif APP_OTA_0 <= each.subtype < APP_OTA_0 + _OTA_SLOTS:
                self._slots[each.subtype - APP_OTA_0] = each
                self._count += 1

    def choose(self) -> str | None:
        """Choose where to start and bring the OTA data forward; return what it complains of.

        Raises OtaDataError.
        """
        place = self._ota_data
        if place is None:
            return None
        if place.size < otadata.RECORDS * SECTOR_SIZE:
            need = otadata.RECORDS * SECTOR_SIZE
            raise OtaDataError(
                f"ota_info partition size {place.size} is too small (minimum {need} bytes)"
            )
        records = [self._read(place, number) for number in range(otadata.RECORDS)]
        for number, record in enumerate(records):
            if record.state == otadata.PENDING_VERIFY:
                # It was booted and has not declared itself good.
                records[number] = otadata.marked(record, otadata.ABORTED)
                self._write(place, number, records[number])
        if all(each.blank for each in records) or not self._count:
            if self._factory is None:
                self._start = 0
                self._fresh = not any(each.intact for each in records)
            return None
        active = otadata.active(records)
        if active is None:
            if self._factory is None:
                return "ota data partition invalid and no factory, will try all partitions"
            return "ota data partition invalid, falling back to factory"
        self._start = (records[active].sequence - 1) % self._count
        if records[active].state == otadata.NEW:
            self._write(place, active, otadata.marked(records[active], otadata.PENDING_VERIFY))
        return None

    def order(self) -> Iterator[Partition]:
        """Return the partitions as they are tried: down to the factory app, up, the test app."""
        indexes = (*range(self._start, _FACTORY - 1, -1), *range(self._start + 1, self._count))
        for index in indexes:
            found = self._factory if index == _FACTORY else self._slots.get(index)
            if found is not None and found.size and index < self._count:
                yield found
        if self._test is not None and self._test.size:
            yield self._test

    def booted(self, app: Partition) -> None:
        """Note the first boot of a slot where neither a factory app nor OTA data say anything."""
        if self._fresh and self._ota_data is not None and app is not self._factory:
            slot = app.subtype - APP_OTA_0
            self._write(self._ota_data, 0, otadata.record(slot + 1, otadata.VALID))

    def is_test(self, app: Partition) -> bool:
        """Tell whether it is the test app."""
        return app is self._test

    def name(self, app: Partition) -> str:
        """Return what the second stage calls it."""
        if app is self._factory:
            return "Factory app partition"
        return f"OTA app partition slot {app.subtype - APP_OTA_0}"

    def _read(self, place: Partition, number: int) -> Record:
        at = (place.offset + number * SECTOR_SIZE) % self._flash.size
        return otadata.decode(self._flash.read(at, RECORD_SIZE))

    def _write(self, place: Partition, number: int, record: Record) -> None:
        at = (place.offset + number * SECTOR_SIZE) % self._flash.size
        self._flash.erase_sector(at)
        self._flash.program(at, record.encode())
