"""Partition tables, ESP images, file systems and .mpy files, against what others make of them."""

import contextlib
import hashlib
import subprocess
import textwrap

import pytest
from citynode import resources
from citynode.image import esp_image, littlefs, micropython, mpy, partitions
from citynode.image.esp_image import AppDescriptor, Header, ImageError, Segment
from citynode.image.partitions import Partition, PartitionError
from hypothesis import example, given, settings
from hypothesis import strategies as st

MIB = 1 << 20
TABLE = (
    Partition("nvs", 1, 2, 0x9000, 0x6000),
    Partition("phy_init", 1, 1, 0xF000, 0x1000),
    Partition("factory", 0, 0, 0x10000, 0x1F0000),
    Partition("vfs", 1, 0x81, 0x200000, 0x200000, 1),
)


# -- partition tables ---------------------------------------------------------------------------


def test_a_table_is_written_as_documented():
    """The bytes are spelled out by hand from the documentation of the format."""
    entries = (
        b"\xaa\x50\x01\x02\x00\x90\x00\x00\x00\x60\x00\x00nvs" + bytes(13) + bytes(4),
        b"\xaa\x50\x01\x01\x00\xf0\x00\x00\x00\x10\x00\x00phy_init" + bytes(8) + bytes(4),
        b"\xaa\x50\x00\x00\x00\x00\x01\x00\x00\x00\x1f\x00factory" + bytes(9) + bytes(4),
        b"\xaa\x50\x01\x81\x00\x00\x20\x00\x00\x00\x20\x00vfs" + bytes(13) + b"\x01\0\0\0",
    )
    body = b"".join(entries)
    digest = b"\xeb\xeb" + b"\xff" * 14 + hashlib.md5(body).digest()
    assert partitions.build_table(TABLE) == (body + digest).ljust(0xC00, b"\xff")


def test_a_table_comes_back():
    assert partitions.parse_table(partitions.build_table(TABLE), 4 * MIB) == TABLE
    without_digest = partitions.build_table(TABLE)[:128] + b"\xff" * 32
    assert partitions.parse_table(without_digest) == TABLE


@pytest.mark.parametrize(
    ("parts", "text"),
    [
        ([Partition("a_label_too_long_", 1, 2, 0x9000, 0x1000)], "16 ASCII"),
        ([Partition("app", 0, 0, 0x11000, 0x1000)], "aligned to 0x10000"),
        ([Partition("data", 1, 2, 0x9100, 0x1000)], "aligned to 0x1000"),
        ([TABLE[0], Partition("late", 1, 1, 0xE000, 0x1000)], "nvs and late overlap"),
        ([Partition(f"p{n}", 1, 2, n << 12, 0x1000) for n in range(10, 110)], "too many"),
    ],
)
def test_impossible_tables_are_refused(parts, text):
    with pytest.raises(PartitionError, match=text):
        partitions.build_table(parts)


def test_the_file_system_is_found():
    assert partitions.file_system(TABLE, 4 * MIB) == TABLE[3]
    behind = partitions.file_system(TABLE[:3], 16 * MIB)
    assert (behind.label, behind.offset, behind.end) == ("vfs", 0x200000, 16 * MIB)
    assert partitions.file_system(TABLE[:3], 2 * MIB) is None


@given(st.binary(max_size=0xD00), st.sampled_from([None, 4 * MIB]))
def test_any_bytes_are_a_table_or_an_error(data, size):
    with contextlib.suppress(PartitionError):
        partitions.parse_table(data, size)


@given(st.integers(0, 0xBFF), st.integers(1, 255))
def test_a_damaged_table_is_noticed(at, change):
    table = bytearray(partitions.build_table(TABLE))
    table[at] ^= change
    try:
        found = partitions.parse_table(bytes(table))
    except PartitionError:
        return
    # What is behind the end and the padding of the digest's entry is not protected.
    assert at >= 128
    assert found == TABLE


# -- images -------------------------------------------------------------------------------------


def sample(**changes):
    texts = AppDescriptor("v1", "p", "01:02:03", "Jan  1 2026", "v5.4", bytes(32))
    data = esp_image.encode_descriptor(texts) + b"\0MicroPython v1.25.0 on 2025-04-15\0"
    segments = [Segment(0x3F400020, data), Segment(0x40080000, b"code")]
    return esp_image.encode(Header(0, 0x40080000, **changes), segments)


def parse(data):
    return esp_image.decode(lambda at, size: data[at : at + size], len(data))


@pytest.mark.parametrize("hashed", [True, False])
def test_an_image_comes_back(hashed):
    image = parse(sample(hashed=hashed, chip_id=9, flash_size=8 * MIB, flash_mhz=40))
    assert (image.header.chip_id, image.header.flash_size) == (9, 8 * MIB)
    assert image.header.flash_mhz == 40
    assert image.segments[1].data == b"code"
    assert image.descriptor.idf_version == "v5.4"
    assert micropython.identify(image).version == "v1.25.0"


@given(st.integers(0, 400), st.integers(1, 255))
@example(at=23, change=1)
def test_a_damaged_image_is_noticed(at, change):
    data = bytearray(sample())
    at %= len(data)
    data[at] ^= change
    with pytest.raises(ImageError):
        # Byte 23 says whether there is a hash at all: without that and the checksum's byte.
        parse(data if at != 23 else data[:-33])


@given(st.binary(max_size=400))
def test_any_bytes_are_an_image_or_an_error(data):
    with contextlib.suppress(ImageError):
        parse(data)
    with contextlib.suppress(ImageError):
        parse(b"\xe9" + data)


@given(st.integers(0, 400))
def test_a_cut_image_is_noticed(length):
    data = sample()
    with pytest.raises(ImageError):
        parse(data[: length % len(data)])


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        ("3.4.0; MicroPython v1.20.0 on 2023-04-26", ("v1.20.0", "2023-04-26", "")),
        (
            "MicroPython v1.28.0-preview.12.gabc on 2026-01-02\0; Generic S3 with ESP32S3",
            ("v1.28.0-preview.12.gabc", "2026-01-02", "Generic S3 with ESP32S3"),
        ),
        ("MicroPython is small", None),
        ("MicroPython v1 on Monday", None),
    ],
)
def test_micropython_is_recognised(texts, expected):
    found = micropython.identify([Segment(0, b"\0" + texts.encode() + b"\0")])
    assert (found and (found.version, found.built, found.machine)) == expected


# -- file systems -------------------------------------------------------------------------------

FILES = {
    "/boot.py": b"import sys\n",
    "/a/node/__init__.mpy": b"",
    "/a/node/core/spool.mpy": bytes(range(256)) * 40,
    "/config.cbor": b"\xa1\x61\x76\x01",
}


def test_files_come_back_from_the_first_blocks():
    image = littlefs.build(2 * MIB, FILES, "v1.25.0")
    assert len(image) < 100_000
    assert len(image) % 4096 == 0
    assert littlefs.read(image, 2 * MIB) == FILES
    # What the flash has behind them is free space, whatever it is.
    assert littlefs.read(image + bytes(2 * MIB - len(image))) == FILES
    assert image == littlefs.build(2 * MIB, dict(reversed(FILES.items())), "v1.25.0")


def test_the_version_on_disk_is_the_interpreters():
    for version, minor in (("v1.20.0", 0), ("v1.21.0", 0), ("v1.22.0", 1), ("v1.29.0", 1)):
        image = littlefs.build(MIB, FILES, version)
        at = image.index(b"littlefs") + 8
        # The superblock: its tag, then the version (minor, major), block size and number of blocks.
        assert image[at + 4 : at + 8] == bytes((minor, 0, 2, 0))


def test_files_that_do_not_fit():
    with pytest.raises(littlefs.FileSystemError, match="do not fit"):
        littlefs.build(0x10000, {"/large": bytes(0x10000)}, "v1.25.0")
    assert littlefs.read(littlefs.build(0x10000, {"/l": bytes(0x8000)}, "v1.25.0"), 0x10000)


def test_what_is_no_file_system():
    for data in (b"\xff" * 0x10000, bytes(0x10000)):
        with pytest.raises(littlefs.FileSystemError):
            littlefs.read(data)


@settings(deadline=None, max_examples=150)
@given(
    st.lists(st.tuples(st.integers(0, 0x3000), st.integers(0, 255)), min_size=1, max_size=20),
)
def test_a_damaged_file_system_is_read_or_refused(damage):
    image = bytearray(littlefs.build(0x20000, FILES, "v1.25.0"))
    for at, value in damage:
        image[at % len(image)] = value
    with contextlib.suppress(littlefs.FileSystemError):
        littlefs.read(bytes(image), 0x20000)


DEVICE = """
import os, vfs
class Flash:
    def __init__(self, name, size):
        self.cells = bytearray(b"\\xa5" * size)
        with open(name, "rb") as file:
            data = file.read()
        self.cells[:len(data)] = data
    def readblocks(self, block, buf, offset=0):
        at = block * 4096 + offset
        buf[:] = memoryview(self.cells)[at : at + len(buf)]
    def writeblocks(self, block, buf, offset=None):
        at = block * 4096 + (offset or 0)
        self.cells[at : at + len(buf)] = buf
    def ioctl(self, op, arg):
        if op == 4: return len(self.cells) // 4096
        if op == 5: return 4096
        if op == 6:
            self.cells[arg * 4096 : arg * 4096 + 4096] = b"\\xff" * 4096
            return 0
"""


def on_micropython(script, *args):
    interpreter = resources.micropython()
    done = subprocess.run(
        [
            interpreter,
            "-X",
            "heapsize=16m",
            "-c",
            DEVICE + textwrap.dedent(script),
            *map(str, args),
        ],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stdout


def test_micropython_reads_and_writes_the_file_system(tmp_path):
    path = tmp_path / "fs.bin"
    path.write_bytes(littlefs.build(2 * MIB, FILES, "v1.25.0"))
    script = f"""
    flash = Flash({str(path)!r}, {2 * MIB})
    fs = vfs.VfsLfs2(flash)
    vfs.mount(fs, "/flash")
    print(os.statvfs("/flash")[2], sorted(os.listdir("/flash")))
    with open("/flash/a/node/core/spool.mpy", "rb") as file:
        print(file.read() == bytes(range(256)) * 40)
    for number in range(300):
        with open("/flash/log", "ab") as file:
            file.write(b"x" * 5000)
    vfs.umount("/flash")
    with open({str(path)!r}, "wb") as file:
        file.write(flash.cells)
    """
    said = on_micropython(script)
    assert said.splitlines() == ["512 ['a', 'boot.py', 'config.cbor']", "True"]
    assert littlefs.read(path.read_bytes()) == {**FILES, "/log": b"x" * 1_500_000}


def test_our_reader_reads_what_micropython_formats(tmp_path):
    path = tmp_path / "fs.bin"
    path.write_bytes(b"")
    script = f"""
    flash = Flash({str(path)!r}, 65536)
    vfs.VfsLfs2.mkfs(flash)
    vfs.mount(vfs.VfsLfs2(flash), "/flash")
    with open("/flash/hello", "w") as file:
        file.write("world")
    vfs.umount("/flash")
    with open({str(path)!r}, "wb") as file:
        file.write(flash.cells)
    """
    on_micropython(script)
    made = path.read_bytes()
    assert littlefs.read(made) == {"/hello": b"world"}
    ours = littlefs.build(65536, {"/hello": b"world"}, "v1.25.0")
    at = made.index(b"littlefs") + 8
    assert ours[at + 4 : at + 12] == made[at + 4 : at + 12]


# -- .mpy ---------------------------------------------------------------------------------------


def package(tmp_path, **sources):
    for name, source in sources.items():
        path = tmp_path / "pack" / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(source))
    return tmp_path / "pack"


@pytest.mark.parametrize("version", ["v1.20.0", "v1.22.1", "v1.25.0", "v1.29.0"])
def test_sources_are_compiled_for_the_image(tmp_path, version):
    folder = package(tmp_path, __init__="", part="def f(a):\n    return a + 1\n")
    made = mpy.compile_tree(folder, version, "esp32")
    assert sorted(made) == ["pack/__init__.mpy", "pack/part.mpy"]
    header = mpy.read_header(made["pack/part.mpy"])
    assert (header.version, header.architecture, header.small_int_bits) == (6, 0, 31)
    assert b"pack/part.py" in made["pack/part.mpy"]
    assert made == mpy.compile_tree(folder, version, "esp32")


def test_compiled_sources_run_and_tell_their_lines(tmp_path):
    folder = package(tmp_path, __init__="", part="def f(a):\n    return 10 // a\n")
    for name, data in mpy.compile_tree(folder, "v1.25.0", "esp32c3").items():
        path = tmp_path / "board" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    script = f"""
    import sys
    sys.path.insert(0, {str(tmp_path / "board")!r})
    from pack.part import f
    print(f(5))
    try:
        f(0)
    except ZeroDivisionError as error:
        sys.print_exception(error, sys.stdout)
    """
    said = on_micropython(script)
    assert said.startswith("2\n")
    assert 'File "pack/part.py", line 2, in f' in said


@pytest.mark.parametrize(
    ("chip", "version", "architecture", "subversion"),
    [("esp32", "v1.25.0", 10, 3), ("esp32s3", "v1.22.0", 10, 2), ("esp32c3", "v1.25.0", 11, 3)],
)
def test_native_code_is_for_the_chip(tmp_path, chip, version, architecture, subversion):
    folder = package(
        tmp_path, n="import micropython\n@micropython.native\ndef f():\n    return 1\n"
    )
    header = mpy.read_header(mpy.compile_tree(folder, version, chip)["pack/n.mpy"])
    assert (header.architecture, header.subversion) == (architecture, subversion)


def test_errors_of_the_source_are_told(tmp_path):
    folder = package(tmp_path, wrong="def f(:\n")
    with pytest.raises(mpy.MpyError, match=r"pack/wrong\.py does not compile: SyntaxError"):
        mpy.compile_tree(folder, "v1.25.0", "esp32")
    with pytest.raises(mpy.MpyError, match="too old"):
        mpy.compile_tree(folder, "v1.19.1", "esp32")
    with pytest.raises(mpy.MpyError, match="no source"):
        mpy.compile_tree(tmp_path / "empty", "v1.25.0", "esp32")


@given(st.binary(max_size=12))
def test_any_bytes_have_a_header_or_none(data):
    header = mpy.read_header(data)
    assert header is None or data[:1] == b"M"
