"""What `esp32` and `esp` of the firmware reach: flash, partitions, NVS."""

from collections.abc import Callable

from citynode.image.partitions import Partition, file_system
from citynode.virtual.soc.boot import AppImage
from citynode.virtual.soc.flash import NorFlash
from citynode.virtual.soc.rpc import Handler, Value


class Storage:
    """The calls of one board's program that end in its flash."""

    def __init__(self, flash: NorFlash, expose: Callable[[str, Handler], None]) -> None:
        self._flash = flash
        for name, handler in (
            ("flash.size", lambda: flash.size),
            ("flash.user_start", self._user_start),
            ("flash.read", flash.read),
            ("flash.program", flash.program),
            ("flash.erase", flash.erase),
            ("partition.list", lambda: [_row(each) for each in self._partitions]),
            ("partition.running", lambda: _row(self._running)),
        ):
            expose(name, handler)

    def use(self, app: AppImage) -> None:
        """Take the partitions of the image that has booted."""
        self._running = app.running
        files = file_system(app.partitions, app.flash_size)
        known = files is None or files in app.partitions
        self._partitions = app.partitions if known else (*app.partitions, files)

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
