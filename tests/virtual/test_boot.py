"""The boot chain on good, bad and random flash, and the stand-in image against the real esptool."""

import random
import subprocess
import sys
import zlib

import pytest
from citynode.image import esp_image, micropython, partitions
from citynode.image.partitions import Partition
from citynode.virtual.soc import standin
from citynode.virtual.soc.boot import boot
from citynode.virtual.soc.chip import CHIPS
from citynode.virtual.soc.flash import NorFlash
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

MIB = 1 << 20
APP = 0x10000


@pytest.fixture(params=sorted(CHIPS))
def chip(request):
    return CHIPS[request.param]


def make(tmp_path, chip, image=None, size=4 * MIB, **changes):
    """A board's flash with a stand-in image; `changes` are bytes to write over it, by address."""
    path = tmp_path / "flash.bin"
    cells = bytearray(b"\xff" * size)
    if image is None:
        image = standin.build(chip)
    base = chip.bootloader_offset
    cells[base : base + len(image)] = image
    for address, data in changes.get("over", {}).items():
        cells[address : address + len(data)] = data
    path.write_bytes(cells)
    return NorFlash(path, size)


def lines(result):
    assert result.log.endswith(b"\r\n")
    assert result.log.count(b"\n") == result.log.count(b"\r\n")
    return result.log.decode().split("\r\n")[:-1]


def flipped(flash, address):
    return {address: bytes([flash.read(address, 1)[0] ^ 0x40])}


# -- good images --------------------------------------------------------------------------------


def test_a_stand_in_boots(tmp_path, chip):
    result = boot(make(tmp_path, chip), chip, "poweron")
    app = result.app
    assert (app.version, app.built) == (standin.VERSION, standin.BUILT)
    short = chip.id.upper()
    assert app.machine == f"Generic {short} module with {short}"
    assert app.running.label == "factory"
    assert [each.label for each in app.partitions] == ["nvs", "phy_init", "factory", "vfs"]
    assert result.retry_ms is None
    assert lines(result)[-1].startswith("entry 0x40")


def test_the_esp32_prints_what_boards_print(tmp_path):
    chip = CHIPS["esp32"]
    assert lines(boot(make(tmp_path, chip), chip, "poweron")) == [
        "ets Jul 29 2019 12:21:46",
        "",
        "rst:0x1 (POWERON_RESET),boot:0x13 (SPI_FAST_FLASH_BOOT)",
        "configsip: 0, SPIWP:0xee",
        "clk_drv:0x00,q_drv:0x00,d_drv:0x00,cs0_drv:0x00,hd_drv:0x00,wp_drv:0x00",
        "mode:DIO, clock div:2",
        "load:0x3fff0030,len:4540",
        "ho 0 tail 12 room 4",
        "load:0x40078000,len:12788",
        "load:0x40080400,len:4176",
        "entry 0x40080680",
    ]


def test_the_c3_prints_what_boards_print(tmp_path):
    chip = CHIPS["esp32c3"]
    assert lines(boot(make(tmp_path, chip), chip, "deepsleep")) == [
        "ESP-ROM:esp32c3-api1-20210207",
        "Build:Feb  7 2021",
        "rst:0x5 (DSLEEP),boot:0xc (SPI_FAST_FLASH_BOOT)",
        "SPIWP:0xee",
        "mode:DIO, clock div:1",
        "load:0x3fcd5820,len:0x11bc",
        "load:0x403cc710,len:0x31f4",
        "load:0x403ce710,len:0x1050",
        "entry 0x403ce990",
    ]


@pytest.mark.parametrize("version", ["v1.20.0", "v1.22.2", "v1.26.1", "v1.28.0-preview.12"])
def test_versions_are_told_and_the_newer_ones_ask_the_chip_for_its_size(tmp_path, version):
    chip = CHIPS["esp32s3"]
    flash = make(tmp_path, chip, standin.build(chip, version=version), size=16 * MIB)
    app = boot(flash, chip, "poweron").app
    assert app.version == version
    newer = micropython.version_numbers(version) >= (1, 26)
    assert app.flash_size == (16 if newer else 4) * MIB
    files = partitions.file_system(app.partitions, app.flash_size)
    assert files.offset == 0x200000
    assert files.end == app.flash_size


def test_a_descriptor_with_texts_is_read():
    chip = CHIPS["esp32"]
    texts = esp_image.AppDescriptor("v9", "named", "1:2:3", "May  1 2025", "v5", bytes(range(32)))
    data = esp_image.encode_descriptor(texts) + bytes(80)
    image = esp_image.encode(
        esp_image.Header(1, 0x40080000, chip.image_chip_id),
        [esp_image.Segment(0x3F400020, data)],
    )
    found = esp_image.decode(lambda at, size: image[at : at + size], len(image))
    assert found.descriptor == texts
    assert found.size == len(image)
    assert micropython.identify(found) is None


# -- nothing and noise in the place of the second stage -----------------------------------------


def test_a_blank_flash_loops_in_the_rom(tmp_path, chip):
    flash = NorFlash(tmp_path / "blank.bin", 4 * MIB)
    result = boot(flash, chip, chip.loop_cause)
    assert result.app is None
    assert result.retry_ms >= 300
    assert result.retry_cause is None
    said = lines(result)
    assert said.count("invalid header: 0xffffffff") >= 8
    assert said[-1] == "invalid header: 0xffffffff"


def test_the_first_word_is_shown_as_it_is(tmp_path, chip):
    flash = make(tmp_path, chip, over={chip.bootloader_offset: b"Hell"})
    assert lines(boot(flash, chip, "poweron"))[-1] == "invalid header: 0x6c6c6548"


def test_a_damaged_second_stage_stops_in_the_rom(tmp_path, chip):
    at = chip.bootloader_offset + 100
    flash = make(tmp_path, chip)
    flash = make(tmp_path, chip, over=flipped(flash, at))
    result = boot(flash, chip, "poweron")
    assert result.app is None
    assert result.retry_ms > 0
    *_, text, place = lines(result)
    if chip.id == "esp32":
        assert text.startswith("csum err:0x")
        assert place == "ets_main.c 384 "
    else:
        assert text.startswith("Checksum failure. Calculated 0x")
        assert place.startswith("ets_main.c 3")
    assert "load:" in result.log.decode()


def test_a_second_stage_cut_off_does_not_start(tmp_path, chip):
    cut = chip.bootloader_offset + 24 + 8 + 4540
    flash = make(tmp_path, chip, over={cut: b"\xff" * 0x5000})
    result = boot(flash, chip, "poweron")
    assert result.app is None
    said = lines(result)
    assert said[-1] == f"load:0xffffffff,len:{'-1' if chip.id == 'esp32' else '0xffffffff'}"


def test_a_patched_header_of_the_second_stage_is_booted_anyway(tmp_path, chip):
    """esptool writes flash parameters into the header; the ROM lets that pass."""
    flash = make(tmp_path, chip)
    flash = make(tmp_path, chip, over=flipped(flash, chip.bootloader_offset + 3))
    image = boot(flash, chip, "poweron")
    told = "SHA-256 comparison failed:" in lines(image)
    assert told == (chip.id != "esp32")
    assert ("Attempting to boot anyway..." in lines(image)) == told


# -- the partition table ------------------------------------------------------------------------


def test_an_absent_partition_table(tmp_path, chip):
    result = boot(make(tmp_path, chip, over={0x8000: b"\n\n" * 1536}), chip, "poweron")
    assert result.app is None
    assert (result.retry_ms > 0, result.retry_cause) == (True, "sw_sys")
    assert lines(result)[-3:] == [
        "E (31) flash_parts: partition 0 invalid magic number 0xa0a",
        "E (31) boot: Failed to verify partition table",
        "E (31) boot: load partition table error!",
    ]
    assert chip.reset_reasons[result.retry_cause].code == 3


def test_a_damaged_partition_table(tmp_path, chip):
    flash = make(tmp_path, chip)
    result = boot(make(tmp_path, chip, over=flipped(flash, 0x8000 + 14)), chip, "poweron")
    assert lines(result)[-3] == "E (31) flash_parts: Incorrect MD5 checksum"


def test_a_blank_partition_table_has_no_app(tmp_path, chip):
    result = boot(make(tmp_path, chip, over={0x8000: b"\xff" * 0xC00}), chip, "poweron")
    text = "E (64) boot: No bootable app partitions in the partition table"
    assert lines(result)[-1] == text


def test_a_table_for_a_larger_flash(tmp_path, chip):
    table = partitions.build_table(standin.layout(8 * MIB))
    result = boot(make(tmp_path, chip, over={0x8000: table}), chip, "poweron")
    assert lines(result)[-3] == (
        "E (31) flash_parts: partition 3 invalid - offset 0x200000 size 0x600000 "
        "exceeds flash chip size 0x400000"
    )


# -- the app ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("over", "text"),
    [
        ({APP: b"\xff" * 4096}, "image at 0x10000 has invalid magic byte (nothing flashed here?)"),
        ({APP + 1: b"\x11"}, "image at 0x10000 segment count 17 exceeds max 16"),
        ({APP + 0x100000: b"\xff" * 0x200000}, "Checksum failed. Calculated 0x"),
        ({APP + 28: b"\xfe\xff\xff\xff"}, "invalid segment length 0xfffffffe"),
    ],
)
def test_a_bad_app_does_not_boot(tmp_path, chip, over, text):
    result = boot(make(tmp_path, chip, over=over), chip, "poweron")
    assert result.app is None
    assert (result.retry_ms > 0, result.retry_cause) == (True, "sw_sys")
    said = lines(result)
    assert said[-3].startswith(f"E (64) esp_image: {text}")
    assert said[-2:] == [
        "E (64) boot: Factory app partition is not bootable",
        "E (64) boot: No bootable app partitions in the partition table",
    ]


def test_a_wrong_hash_of_the_app(tmp_path, chip):
    end = len(standin.build(chip)) + chip.bootloader_offset
    result = boot(make(tmp_path, chip, over={end - 1: b"\x00"}), chip, "poweron")
    assert lines(result)[-3] == "E (64) esp_image: Image hash failed - image is corrupt"


def test_an_app_of_another_chip(tmp_path, chip):
    other = CHIPS["esp32" if chip.id != "esp32" else "esp32c3"]
    app = standin.build(other)[APP - other.bootloader_offset :]
    result = boot(make(tmp_path, chip, over={APP: app}), chip, "poweron")
    assert lines(result)[-3] == (
        f"E (64) boot_comm: mismatch chip ID, "
        f"expected {chip.image_chip_id}, found {other.image_chip_id}"
    )


def test_an_app_longer_than_its_partition(tmp_path, chip):
    table = partitions.build_table([Partition("factory", 0, 0, APP, 0x100000)])
    result = boot(make(tmp_path, chip, over={0x8000: table}), chip, "poweron")
    assert "doesn't fit in partition length 1048576" in lines(result)[-3]


def test_a_flash_smaller_than_the_image_says(tmp_path, chip):
    image = standin.build(chip, flash_size=8 * MIB)
    result = boot(make(tmp_path, chip, image), chip, "poweron")
    assert result.app is None
    assert result.retry_cause == "sw"
    assert (
        "E (270) spi_flash: Detected size(4096k) smaller than the size in the binary image "
        "header(8192k). Probe failed."
    ) in lines(result)


def test_another_program_is_named_and_left_alone(tmp_path, chip):
    app = standin.build(chip)[APP - chip.bootloader_offset :]
    image = esp_image.decode(lambda at, size: app[at : at + size], len(app))
    blank = [
        esp_image.Segment(each.address, each.data.replace(b"MicroPython", b"Hello World"))
        for each in image.segments
    ]
    other = esp_image.encode(image.header, blank)
    result = boot(make(tmp_path, chip, over={APP: other}), chip, "poweron")
    assert (result.app, result.retry_ms) == (None, None)
    assert "is not MicroPython" in lines(result)[-1]


# -- slots --------------------------------------------------------------------------------------

SLOTS = [
    Partition("nvs", 1, 2, 0x9000, 0x4000),
    Partition("otadata", 1, 0, 0xD000, 0x2000),
    Partition("ota_0", 0, 0x10, 0x10000, 0x180000),
    Partition("ota_1", 0, 0x11, 0x190000, 0x180000),
    Partition("vfs", 1, 0x81, 0x310000, 0xF0000),
]


def selection(sequence, state=0xFFFFFFFF):
    raw = sequence.to_bytes(4, "little")
    crc = zlib.crc32(raw, 0xFFFFFFFF).to_bytes(4, "little")
    return raw + b"\xff" * 20 + state.to_bytes(4, "little") + crc


@pytest.mark.parametrize(
    ("entries", "good", "running"),
    [
        ({}, (0, 1), 0),
        ({0: selection(1)}, (0, 1), 0),
        ({0: selection(2)}, (0, 1), 1),
        ({0: selection(2), 1: selection(3)}, (0, 1), 0),
        ({0: selection(2), 1: selection(3, state=4)}, (0, 1), 1),
        ({0: selection(2), 1: b"\x03" * 32}, (0, 1), 1),
        ({0: selection(2)}, (0,), 0),
        ({0: selection(1)}, (1,), 1),
        ({0: b"\x01" * 32}, (0, 1), 0),
        ({}, (), None),
    ],
)
def test_the_second_stage_chooses_a_slot(tmp_path, entries, good, running):
    chip = CHIPS["esp32"]
    app = standin.build(chip)[APP - chip.bootloader_offset :]
    # What is not written is part of a smaller app that both slots can hold.
    image = esp_image.decode(lambda at, size: app[at : at + size], len(app))
    small = esp_image.encode(image.header, image.segments[:1])
    over = {0x8000: partitions.build_table(SLOTS), APP: b"\xff" * 0x200000}
    for number in good:
        over[SLOTS[2 + number].offset] = small
    for sector, raw in entries.items():
        over[0xD000 + 0x1000 * sector] = raw
    result = boot(make(tmp_path, chip, over=over), chip, "poweron")
    if running is None:
        assert result.app is None
        assert "E (64) boot: OTA app partition slot 1 is not bootable" in lines(result)
    else:
        assert result.app.running.label == f"ota_{running}"


# -- any flash ----------------------------------------------------------------------------------


@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    name=st.sampled_from(sorted(CHIPS)),
    damage=st.lists(
        st.tuples(
            st.one_of(
                st.integers(0, 0x20),
                st.integers(0x1000, 0x1020),
                st.integers(0x8000, 0x80E0),
                st.integers(APP, APP + 0x40),
                st.integers(0, 0x200000),
            ),
            st.binary(min_size=1, max_size=40),
        ),
        max_size=4,
    ),
)
def test_any_flash_gives_a_result(tmp_path, name, damage):
    chip = CHIPS[name]
    result = boot(make(tmp_path, chip, over=dict(damage)), chip, "poweron")
    assert (result.app is None) or result.app.version.startswith("v")
    assert result.log.endswith(b"\r\n")


def test_a_flash_of_noise(tmp_path, chip):
    path = tmp_path / "noise.bin"
    path.write_bytes(random.Random(4).randbytes(4 * MIB))
    assert boot(NorFlash(path, 4 * MIB), chip, "poweron").app is None


# -- the stand-in and the vendor's tool ---------------------------------------------------------


def esptool(*args):
    done = subprocess.run(
        [sys.executable, "-m", "esptool", *map(str, args)],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return done.stdout


def test_esptool_finds_the_stand_in_valid(tmp_path, chip):
    image = standin.build(chip)
    (tmp_path / "all.bin").write_bytes(image)
    (tmp_path / "app.bin").write_bytes(image[APP - chip.bootloader_offset :])
    for name in ("all.bin", "app.bin"):
        said = esptool("image-info", tmp_path / name)
        assert f"Detected image type: {chip.name}\n" in said
        assert "Flash size: 4MB" in said
        assert said.count("(valid)") == 2
        assert "(invalid" not in said
    assert "Compile time: Apr 15 2025" in said
    assert f"ESP-IDF: {standin.IDF_VERSION}" in said


def test_esptool_merges_its_parts_to_the_same_image(tmp_path, chip):
    image = standin.build(chip)
    base = chip.bootloader_offset
    parts = []
    for at, end in ((base, 0x8000), (0x8000, 0x8C00), (APP, base + len(image))):
        path = tmp_path / f"{at:x}.bin"
        path.write_bytes(image[at - base : end - base])
        parts += [hex(at), path]
    out = tmp_path / "merged.bin"
    esptool("--chip", chip.id, "merge-bin", "-o", out, *parts)
    assert out.read_bytes()[base:] == image


def test_the_stand_in_has_size_and_density_of_a_real_one(chip):
    image = standin.build(chip)
    assert 1_550_000 < len(image) < 1_800_000
    assert 0.62 < len(zlib.compress(image, 9)) / len(image) < 0.66
    assert image == standin.build(chip)
    assert image != standin.build(chip, seed=1)
