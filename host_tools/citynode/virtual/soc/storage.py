"""What `esp32` and `esp` of the firmware reach: flash, partitions, NVS."""

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec

from citynode.image import esp_image, otadata
from citynode.image.esp_image import ImageError
from citynode.image.nvs import Kind, NvsError, NvsStore
from citynode.image.partitions import (
    APP_FACTORY,
    APP_OTA_0,
    DATA_NVS,
    DATA_OTA,
    SECTOR_SIZE,
    TYPE_APP,
    TYPE_DATA,
    Partition,
    file_system,
    find,
)
from citynode.virtual.soc.boot import AppImage
from citynode.virtual.soc.flash import NorFlash
from citynode.virtual.soc.rpc import Handler, Value

P = ParamSpec("P")
EIO = 5
_OTA_SLOTS = 16
# Errors of ESP-IDF that NVS has no part in.
_FAIL, _INVALID_ARG, _NOT_FOUND, _VALIDATE_FAILED = -1, 0x102, 0x105, 0x1503


class EspError(Exception):
    """What a call of ESP-IDF has returned."""

    def __init__(self, code: int, name: str) -> None:
        super().__init__(code, name)
        self.code = code
        self.name = name


def _esp_errors(call: Callable[P, Value]) -> Callable[P, Value]:
    """Have a call return `["error", code, name]` for what ESP-IDF refuses."""

    @wraps(call)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> Value:
        try:
            return call(*args, **kwargs)
        except (NvsError, EspError) as error:
            return ["error", error.code, error.name]

    return wrapped


def _not_found(key: str) -> NvsError:
    return NvsError("ESP_ERR_NVS_NOT_FOUND", f"there is no key {key}")


class Storage:
    """The calls of one board's program that end in its flash."""

    def __init__(
        self, flash: NorFlash, image_chip_id: int, expose: Callable[[str, Handler], None]
    ) -> None:
        self._flash = flash
        self._image_chip_id = image_chip_id
        self._opened: NvsStore | None = None
        for name, handler in (
            ("flash.size", lambda: flash.size),
            ("flash.read", self._read),
            ("partition.list", lambda: [_row(each) for each in self._partitions]),
            ("partition.running", lambda: _row(self._running)),
            ("partition.boot", lambda: _row(self._boot())),
            ("partition.next", self._next),
            ("partition.set_boot", self._set_boot),
            ("partition.mark_valid", self._mark_valid),
            ("nvs.open", self._nvs_open),
            ("nvs.get_i32", self._nvs_get_i32),
            ("nvs.set_i32", self._nvs_set_i32),
            ("nvs.get_blob", self._nvs_get_blob),
            ("nvs.set_blob", self._nvs_set_blob),
            ("nvs.erase_key", self._nvs_erase_key),
            ("nvs.commit", lambda name: None),  # a `set` is in flash when it returns
        ):
            expose(name, handler)

    def use(self, app: AppImage) -> None:
        """Take the partitions of the image that has booted."""
        self._opened = None
        self._running = app.running
        files = file_system(app.partitions, app.flash_size)
        self._partitions = app.partitions
        if files is not None and files not in app.partitions:
            self._partitions += (files,)

    # -- flash, as `esp` has it -----------------------------------------------------------------

    def _read(self, at: int, size: int) -> bytes:
        self._check(at, size)
        return self._flash.read(at, size)

    def program(self, at: int, data: bytes) -> None:
        """Program bytes; raises OSError outside of the flash, or where it fails."""
        self._check(at, len(data))
        self._flash.program(at, data)

    def erase(self, at: int, size: int) -> None:
        """Erase whole sectors; raises OSError outside of the flash, or where it fails."""
        self._check(at, size)
        self._flash.erase(at, size)

    def _check(self, at: int, size: int) -> None:
        if not 0 <= at <= at + size <= self._flash.size:
            raise OSError(EIO, "outside of the flash")

    # -- the slots of updates -------------------------------------------------------------------

    def _slots(self) -> list[Partition]:
        slots = [
            each
            for each in self._partitions
            if each.type == TYPE_APP and APP_OTA_0 <= each.subtype < APP_OTA_0 + _OTA_SLOTS
        ]
        return sorted(slots, key=lambda each: each.subtype)

    def _records(self) -> tuple[Partition | None, list[otadata.Record]]:
        place = find(self._partitions, type=TYPE_DATA, subtype=DATA_OTA)
        if place is None:
            return None, []
        size = otadata.RECORD_SIZE
        return place, [
            otadata.decode(self._flash.read(place.offset + number * SECTOR_SIZE, size))
            for number in range(otadata.RECORDS)
        ]

    def _boot(self) -> Partition:
        """Return the partition that the next start takes (`esp_ota_get_boot_partition`)."""
        slots = self._slots()
        _, records = self._records()
        active = otadata.active(records)
        if active is not None and slots:
            return slots[(records[active].sequence - 1) % len(slots)]
        factory = find(self._partitions, type=TYPE_APP, subtype=APP_FACTORY)
        return factory or (slots[0] if slots else self._running)

    def _next(self, offset: int) -> Value:
        """Return the slot for an update of the app at `offset`; None if there is none."""
        slots = self._slots()
        for index, each in enumerate(slots):
            if each.offset == offset:
                return _row(slots[(index + 1) % len(slots)])
        return _row(slots[0]) if slots else None

    @_esp_errors
    def _set_boot(self, offset: int) -> Value:
        target = next((each for each in self._partitions if each.offset == offset), None)
        if target is None:
            raise EspError(_INVALID_ARG, "ESP_ERR_INVALID_ARG")
        if not self._is_app(target):
            raise EspError(_VALIDATE_FAILED, "ESP_ERR_OTA_VALIDATE_FAILED")
        place, records = self._records()
        if place is None:
            raise EspError(_NOT_FOUND, "ESP_ERR_NOT_FOUND")
        slots = self._slots()
        if target.subtype == APP_FACTORY:
            self._flash.erase(place.offset, otadata.RECORDS * SECTOR_SIZE)
        elif target in slots:
            self._write(place, *otadata.select(records, slots.index(target), len(slots)))
        else:
            raise EspError(_INVALID_ARG, "ESP_ERR_INVALID_ARG")
        return None

    def _is_app(self, partition: Partition) -> bool:
        def read(at: int, size: int) -> bytes:
            return self._flash.read(partition.offset + at, size)

        try:
            header = esp_image.decode_header(read(0, esp_image.HEADER_SIZE))
            esp_image.decode(read, partition.size)
        except ImageError:
            return False
        return header.chip_id == self._image_chip_id

    @_esp_errors
    def _mark_valid(self) -> Value:
        place, records = self._records()
        if place is None:
            raise EspError(_NOT_FOUND, "ESP_ERR_NOT_FOUND")
        active = otadata.active(records)
        if active is None or not self._slots():
            raise EspError(_FAIL, "ESP_FAIL")
        if records[active].state != otadata.VALID:
            self._write(place, active, otadata.marked(records[active], otadata.VALID))
        return None

    def _write(self, place: Partition, number: int, record: otadata.Record) -> None:
        at = place.offset + number * SECTOR_SIZE
        self._flash.erase(at, SECTOR_SIZE)
        self._flash.program(at, record.encode())

    # -- NVS ------------------------------------------------------------------------------------

    @property
    def _nvs(self) -> NvsStore:
        """The store of the partition `nvs`, opened when it is first used after a start."""
        if self._opened is None:
            place = find(self._partitions, type=TYPE_DATA, subtype=DATA_NVS)
            if place is None:
                raise NvsError("ESP_ERR_NVS_NOT_FOUND", "there is no NVS partition")
            base = place.offset
            flash = self._flash
            self._opened = NvsStore(
                lambda at, size: flash.read(base + at, size),
                lambda at, data: flash.program(base + at, data),
                lambda at: flash.erase_sector(base + at),
                place.size,
            )
        return self._opened

    @_esp_errors
    def _nvs_open(self, name: str) -> Value:
        self._nvs.open(name)
        return None

    @_esp_errors
    def _nvs_get_i32(self, name: str, key: str) -> Value:
        value = self._nvs.get(name, key, Kind.I32)
        if not isinstance(value, int):
            raise _not_found(key)
        return value

    @_esp_errors
    def _nvs_set_i32(self, name: str, key: str, value: int) -> Value:
        self._nvs.set(name, key, Kind.I32, value)
        return None

    @_esp_errors
    def _nvs_get_blob(self, name: str, key: str, room: int) -> Value:
        value = self._nvs.get(name, key, Kind.BLOB)
        if not isinstance(value, bytes):
            raise _not_found(key)
        if len(value) > room:
            raise NvsError("ESP_ERR_NVS_INVALID_LENGTH", f"the blob {key} has {len(value)} bytes")
        return value

    @_esp_errors
    def _nvs_set_blob(self, name: str, key: str, data: bytes) -> Value:
        self._nvs.set(name, key, Kind.BLOB, data)
        return None

    @_esp_errors
    def _nvs_erase_key(self, name: str, key: str) -> Value:
        if not self._nvs.erase(name, key):
            raise _not_found(key)
        return None


def _row(partition: Partition) -> Value:
    return [
        partition.type,
        partition.subtype,
        partition.offset,
        partition.size,
        partition.label,
        bool(partition.flags & 1),
    ]
