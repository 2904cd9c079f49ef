"""`esp32` of the ESP32 port: partitions, NVS, wake-up sources, temperatures."""

import _facts
from _rpc import call

WAKEUP_ALL_LOW = False
WAKEUP_ANY_HIGH = True
HEAP_DATA = 4
HEAP_EXEC = 1
_SECTOR = 4096


def _idf(result):
    """Raise what the call into ESP-IDF has returned as an error, else return its value."""
    if isinstance(result, list) and result and result[0] == "error":
        raise OSError(-result[1], result[2])
    return result


class Partition:
    """A partition of the flash as a block device."""

    BOOT = 0
    RUNNING = 1
    TYPE_APP = 0
    TYPE_DATA = 1

    def __init__(self, id, block_size=_SECTOR):
        if isinstance(id, int):
            row = call("partition.running")
        else:
            row = None
            for each in call("partition.list"):
                if each[4] == id:
                    row = each
                    break
            if row is None:
                raise OSError(2)
        self._open(row, block_size)

    def _open(self, row, block_size):
        self._row = tuple(row)
        self._start = row[2]
        self._size = row[3]
        self._block = block_size
        self._file = _facts.flash

    @classmethod
    def find(cls, type=0, subtype=0xFF, label=None, block_size=_SECTOR):
        found = []
        for row in call("partition.list"):
            if row[0] == type and subtype in (0xFF, row[1]) and label in (None, row[4]):
                each = object.__new__(cls)
                each._open(row, block_size)
                found.append(each)
        return found

    def __repr__(self):
        return "<Partition type=%d, subtype=%d, address=%d, size=%d, label=%s, encrypted=%d>" % (
            self._row
        )

    def info(self):
        return self._row

    def _at(self, block, offset, size):
        at = block * self._block + offset
        if at < 0 or at + size > self._size:
            raise OSError(-0x102, "ESP_ERR_INVALID_ARG")
        return self._start + at

    def readblocks(self, block, buf, offset=0):
        self._file.seek(self._at(block, offset, len(buf)))
        self._file.readinto(buf)

    def writeblocks(self, block, buf, offset=None):
        size = len(buf)
        if offset is None:
            at = self._at(block, 0, size)
            call("flash.erase", at, -(-size // _SECTOR) * _SECTOR)
        else:
            at = self._at(block, offset, size)
        call("flash.program", at, buf)

    def ioctl(self, op, arg):
        if op == 4:
            return self._size // self._block
        if op == 5:
            return self._block
        if op == 6:
            call("flash.erase", self._at(arg, 0, self._block), self._block)
        return 0

    def set_boot(self):
        if self._row[0] != self.TYPE_APP:
            raise OSError(-0x102, "ESP_ERR_INVALID_ARG")
        _idf(call("partition.set_boot", self._start))

    def get_next_update(self):
        for row in call("partition.list"):
            # Slots of an update are app partitions of the subtypes ota_0 … ota_15.
            if row[0] == 0 and 0x10 <= row[1] < 0x20 and row[2] != self._start:
                each = object.__new__(Partition)
                each._open(row, self._block)
                return each
        raise OSError(-0x105, "ESP_ERR_NOT_FOUND")

    @classmethod
    def mark_app_valid_cancel_rollback(cls):
        pass  # the bootloader of the plain builds has no rollback: there is nothing to cancel


class NVS:
    """A namespace of the partition `nvs`; integers and blobs only, as on the port."""

    def __init__(self, namespace):
        self._name = namespace
        _idf(call("nvs.open", namespace))

    def set_i32(self, key, value):
        if not -0x80000000 <= value <= 0x7FFFFFFF:
            raise OverflowError("overflow converting long int to machine word")
        _idf(call("nvs.set_i32", self._name, key, value))

    def get_i32(self, key):
        return _idf(call("nvs.get_i32", self._name, key))

    def set_blob(self, key, data):
        if isinstance(data, str):
            data = data.encode()
        _idf(call("nvs.set_blob", self._name, key, data))

    def get_blob(self, key, buffer):
        data = _idf(call("nvs.get_blob", self._name, key, len(buffer)))
        memoryview(buffer)[: len(data)] = data
        return len(data)

    def erase_key(self, key):
        _idf(call("nvs.erase_key", self._name, key))

    def commit(self):
        _idf(call("nvs.commit", self._name))


def wake_on_ext0(pin=None, level=None):
    call("wake.ext0", None if pin is None else pin._id, level)


def wake_on_ext1(pins=None, level=None):
    call("wake.ext1", [] if pins is None else [pin._id for pin in pins], level)


# The ESP32 has an uncalibrated sensor in °F, its successors one in °C.
if "ESP32-" in _facts.machine.split(" with ")[-1]:

    def mcu_temperature():
        return call("chip.temperature")

else:

    def raw_temperature():
        return call("chip.temperature") * 9 // 5 + 32


def idf_heap_info(capabilities):
    # (total, free, largest free block, least free so far) of each region of ESP-IDF's heap.
    return [tuple(row) for row in call("chip.heap_info", capabilities)]
