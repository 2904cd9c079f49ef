"""`esp32` of the ESP32 port: partitions, NVS, wake-up sources, temperatures."""

import _ctrlc
import _facts
import _flash
import _heap
import _wake
from _rmt import RMT as RMT
from _rpc import call as _call
from machine._pin import number as _number

WAKEUP_ALL_LOW = False
WAKEUP_ANY_HIGH = True
HEAP_DATA = 4
HEAP_EXEC = 1
_SECTOR = 4096
_ENOENT = 2
_EINVAL = 22


def _raise(code, name):
    if not _heap.depth:
        raise OSError(-code, name)
    # With the heap locked there is room for the number at most, and for that only if asked for.
    raise OSError(-code) if _heap.spare else OSError()


def _idf(result):
    """Raise what the call into ESP-IDF has returned as an error, else return its value."""
    if isinstance(result, list) and result and result[0] == "error":
        _raise(result[1], result[2])
    return result


class Partition:
    """A partition of the flash as a block device."""

    BOOT = 0
    RUNNING = 1
    TYPE_APP = 0
    TYPE_DATA = 1

    def __init__(self, id, block_size=_SECTOR):
        if isinstance(id, int):
            if id not in (Partition.BOOT, Partition.RUNNING):
                raise ValueError
            row = _call("partition.running" if id == Partition.RUNNING else "partition.boot")
        else:
            rows = [each for each in _call("partition.list") if each[4] == id]
            rows.sort(key=lambda each: each[0])  # apps come first
            if not rows:
                raise OSError(_ENOENT)
            row = rows[0]
        self._open(row, block_size)

    def _open(self, row, block_size):
        self._row = tuple(row)
        self._start = row[2]
        self._size = row[3]
        self._block = block_size
        self._file = _facts.flash

    @staticmethod
    def find(type=0, subtype=0xFF, label=None, block_size=_SECTOR):
        found = []
        for row in _call("partition.list"):
            if row[0] == type and subtype in (0xFF, row[1]) and label in (None, row[4]):
                found.append(_partition(row, block_size))
        return found

    def __repr__(self):
        return "<Partition type=%d, subtype=%d, address=%d, size=%d, label=%s, encrypted=%d>" % (
            self._row
        )

    def info(self):
        return self._row

    # What the file system calls: see `_flash` about the size of frames, `_ctrlc` about jumps. A
    # negative errno reaches it as one.

    def readblocks(self, block, buf, offset=0):
        _ctrlc.hold()
        offset = self._at(block, offset, len(buf))
        self._file.seek(offset)
        self._file.readinto(buf)
        _ctrlc.let_go(None)

    def writeblocks(self, block, buf, offset=None):
        _ctrlc.hold()
        block = self._write(block, buf, offset)
        return _ctrlc.let_go(block)

    def ioctl(self, op, arg):
        _ctrlc.hold()
        arg = self._control(op, arg)
        return _ctrlc.let_go(arg)

    def _at(self, block, offset, size):
        at = block * self._block + offset
        if not 0 <= at <= self._size:
            _ctrlc.let_go(None)
            _raise(0x102, "ESP_ERR_INVALID_ARG")
        if at + size > self._size:
            _ctrlc.let_go(None)
            _raise(0x104, "ESP_ERR_INVALID_SIZE")
        return self._start + at

    def _write(self, block, buf, offset):
        if offset is None:
            return self._overwrite(block, buf)
        offset = self._at(block, offset, len(buf))
        return _flash.program(offset, buf)

    def _control(self, op, arg):
        if op == 4:
            return self._size // self._block
        if op == 5:
            return self._block
        if op == 6:
            return self._erase(arg)
        return 0 if op in (1, 2, 3) else None

    def _erase(self, block):
        if self._block != _SECTOR:
            return -_EINVAL
        block = self._at(block, 0, _SECTOR)
        return _flash.erase(block, _SECTOR)

    def _overwrite(self, block, buf):
        """Write as file systems do that know nothing of erasing."""
        at = self._at(block, 0, len(buf))
        if self._block >= _SECTOR and (at % _SECTOR or len(buf) % _SECTOR):
            _ctrlc.let_go(None)
            _raise(0x104, "ESP_ERR_INVALID_SIZE")
        start = at // _SECTOR * _SECTOR
        stop = -(-(at + len(buf)) // _SECTOR) * _SECTOR
        if stop - start > len(buf):
            # Less than sectors: what is around the bytes is kept.
            data = bytearray(stop - start)
            self._file.seek(start)
            self._file.readinto(data)
            data[at - start : at - start + len(buf)] = buf
            buf = data
        return _flash.erase(start, stop - start) or _flash.program(start, buf)

    def set_boot(self):
        _idf(_call("partition.set_boot", self._start))

    def get_next_update(self):
        row = _call("partition.next", self._start)
        if row is None:
            raise OSError(_ENOENT)
        return _partition(row, _SECTOR)

    @classmethod
    def mark_app_valid_cancel_rollback(cls):
        _idf(_call("partition.mark_valid"))


def _partition(row, block_size):
    new = object.__new__(Partition)
    new._open(row, block_size)
    return new


class NVS:
    """A namespace of the partition `nvs`; integers and blobs only, as on the port."""

    def __init__(self, namespace):
        self._name = _text(namespace)
        _idf(_call("nvs.open", self._name))

    def __repr__(self):
        return "<NVS namespace>"

    def set_i32(self, key, value):
        if not -0x80000000 <= value <= 0x7FFFFFFF:
            raise OverflowError("overflow converting long int to machine word")
        _idf(_call("nvs.set_i32", self._name, _text(key), value))

    def get_i32(self, key):
        return _idf(_call("nvs.get_i32", self._name, _text(key)))

    def set_blob(self, key, data):
        if isinstance(data, str):
            data = data.encode()
        _idf(_call("nvs.set_blob", self._name, _text(key), bytes(data)))

    def get_blob(self, key, buffer):
        data = _idf(_call("nvs.get_blob", self._name, _text(key), len(buffer)))
        memoryview(buffer)[: len(data)] = data
        return len(data)

    def erase_key(self, key):
        _idf(_call("nvs.erase_key", self._name, _text(key)))

    def commit(self):
        _idf(_call("nvs.commit", self._name))


def _text(value):
    if isinstance(value, str):
        return value
    raise TypeError("can't convert '%s' object to str implicitly" % type(value).__name__)


# -- what ends a sleep ------------------------------------------------------------------------


def wake_on_ext0(pin=-1, level=None):
    _wake.ext0(pin if pin in (None, -1) else _number(pin), level)


def wake_on_ext1(pins=None, level=None):
    _wake.ext1(None if pins is None else [_number(pin) for pin in pins], level)


def wake_on_touch(wake):
    _wake.touch(wake)


def wake_on_ulp(wake):
    _wake.ulp(wake)


def gpio_deep_sleep_hold(enable):
    pass


if _facts.release >= (1, 27):

    def wake_on_gpio(pins=None, level=False):
        _wake.gpio([_number(pin) for pin in pins or ()], level)


# The ESP32 has an uncalibrated sensor in °F, its successors one in °C.
if _facts.chip == "esp32":

    def raw_temperature():
        return _call("chip.temperature") * 9 // 5 + 32

else:

    def mcu_temperature():
        return _call("chip.temperature")


def idf_heap_info(capabilities):
    # (total, free, largest free block, least free so far) of each region of ESP-IDF's heap.
    return [tuple(row) for row in _call("chip.heap_info", capabilities)]
