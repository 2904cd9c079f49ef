"""What `esp32` and `esp` of the firmware reach: flash, partitions, NVS."""

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec

from citynode.image.nvs import Kind, NvsError, NvsStore
from citynode.image.partitions import DATA_NVS, TYPE_DATA, Partition, file_system, find
from citynode.virtual.soc.boot import AppImage
from citynode.virtual.soc.flash import NorFlash
from citynode.virtual.soc.rpc import Handler, Value

P = ParamSpec("P")


def _esp_errors(call: Callable[P, Value]) -> Callable[P, Value]:
    """Have a call return `["error", code, name]` for what ESP-IDF refuses."""

    @wraps(call)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> Value:
        try:
            return call(*args, **kwargs)
        except NvsError as error:
            return ["error", error.code, error.name]

    return wrapped


def _not_found(key: str) -> NvsError:
    return NvsError("ESP_ERR_NVS_NOT_FOUND", f"there is no key {key}")


class Storage:
    """The calls of one board's program that end in its flash."""

    def __init__(self, flash: NorFlash, expose: Callable[[str, Handler], None]) -> None:
        self._flash = flash
        self._opened: NvsStore | None = None
        for name, handler in (
            ("flash.size", lambda: flash.size),
            ("flash.user_start", self._user_start),
            ("flash.read", flash.read),
            ("flash.program", flash.program),
            ("flash.erase", flash.erase),
            ("partition.list", lambda: [_row(each) for each in self._partitions]),
            ("partition.running", lambda: _row(self._running)),
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

    def _user_start(self) -> int:
        return next((each.offset for each in self._partitions if each.label == "vfs"), 0)


def _row(partition: Partition) -> Value:
    return [
        partition.type,
        partition.subtype,
        partition.offset,
        partition.size,
        partition.label,
        bool(partition.flags & 1),
    ]
