"""The boot chain on images of the vendor's own tool: acceptance, refusals, updates and rollback."""

import random
import re

import pytest
from citynode.image import esp_image, otadata, partitions
from citynode.image.esp_image import Header, Segment
from citynode.image.otadata import (
    ABORTED,
    INVALID,
    NEW,
    PENDING_VERIFY,
    UNDEFINED,
    VALID,
    record,
)
from citynode.image.partitions import TABLE_OFFSET, Partition
from citynode.virtual.soc.boot import BootChain, boot
from citynode.virtual.soc.chip import CHIPS
from citynode.virtual.soc.flash import SECTOR_SIZE, NorFlash
from elf_images import app, merged, second_stage

MIB = 1 << 20
APP, OTHER = 0x10000, 0x110000
OTA_DATA = 0xD000
FACTORY = Partition("factory", 0, 0x00, APP, 0x100000)
ONE_APP = [Partition("nvs", 1, 2, 0x9000, 0x6000), FACTORY]
SLOTS = [
    Partition("nvs", 1, 2, 0x9000, 0x4000),
    Partition("otadata", 1, 0, OTA_DATA, 0x2000),
    Partition("ota_0", 0, 0x10, APP, 0x100000),
    Partition("ota_1", 0, 0x11, OTHER, 0x100000),
]
every_chip = pytest.mark.parametrize("chip", sorted(CHIPS))


@pytest.fixture
def rng():
    return random.Random(1)


@pytest.fixture
def board(tmp_path):
    """Make a flash of (address, bytes) parts."""
    flashes = []

    def make(chip, *parts, size=4 * MIB):
        path = tmp_path / f"{len(flashes)}.bin"
        cells = bytearray(b"\xff" * size)
        for address, data in parts:
            cells[address : address + len(data)] = data
        path.write_bytes(cells)
        flashes.append(NorFlash(path, size))
        return flashes[-1]

    yield make
    for flash in flashes:
        flash.close()


@pytest.fixture
def slots(board, rng):
    """An ESP32 with two slots; `slots(record, record, good=...)` gives flash and boot chain."""
    images = {APP: app("esp32", rng, "v1.26.0"), OTHER: app("esp32", rng, "v1.27.0")}
    start = second_stage("esp32", rng)

    def make(*records, good=(0, 1), table=SLOTS):
        parts = [(0x1000, start), (0x8000, partitions.build_table(table))]
        places = (APP, OTHER)
        parts += [(places[number], images[places[number]]) for number in good]
        parts += [
            (OTA_DATA + 0x1000 * number, each.encode()) for number, each in enumerate(records)
        ]
        flash = board("esp32", *parts)
        return flash, BootChain(flash, CHIPS["esp32"])

    return make


def said(result):
    """Return the lines behind the second stage's entry."""
    lines = result.log.decode().split("\r\n")[:-1]
    start = next(number for number, line in enumerate(lines) if line.startswith("entry "))
    return lines[start + 1 :]


def complete(chip, rng, image=None, table=ONE_APP):
    return (
        (CHIPS[chip].bootloader_offset, second_stage(chip, rng)),
        (0x8000, partitions.build_table(table)),
        (APP, image if image is not None else app(chip, rng)),
    )


# -- images of elf2image and merge-bin ------------------------------------------------------------


@every_chip
def test_images_of_the_vendors_tool_boot(board, rng, chip):
    flash = board(chip, (0, merged(chip, list(complete(chip, rng)))))
    result = boot(flash, CHIPS[chip], "poweron")
    assert said(result) == []
    found = result.app
    assert (found.version, found.built, found.idf_version) == ("v1.27.0", "2026-09-12", "v5.4.2")
    assert found.machine == f"A board with {chip.upper()}"
    assert found.running == FACTORY


REFUSALS = re.compile(
    r"E \(64\) (esp_image: (image at 0x10000 has invalid magic byte \(nothing flashed here\?\)"
    r"|image at 0x10000 segment count \d+ exceeds max 16"
    r"|Checksum failed\. Calculated 0x[0-9a-f]+ read 0x[0-9a-f]+"
    r"|invalid segment length 0x[0-9a-f]+"
    r"|Segment \d 0x[0-9a-f]{8}-0x[0-9a-f]{8,9} invalid: bad load address range"
    r"|Segment \d load address 0x[0-9a-f]{8}, doesn't match data 0x[0-9a-f]{8}"
    r"|Image hash failed - image is corrupt)"
    r"|boot_comm: (mismatch chip ID, expected \d+, found \d+"
    r"|Image requires chip rev [<>]= v\d+\.\d+, but chip is v\d\.\d))"
)


@every_chip
def test_a_wrong_byte_anywhere_in_the_app_is_refused_with_its_message(board, rng, chip):
    image = app(chip, rng)
    parts = complete(chip, rng, image)
    flash = board(chip, *parts)
    # Every byte of the header but the one that says whether there is a hash, of the segments'
    # heads, and samples of the rest.
    heads = [each.offset - 8 for each in decoded(image).segments]
    places = {*range(23), *(head + at for head in heads for at in range(8)), len(image) - 33}
    places |= {rng.randrange(len(image)) for _ in range(20)} | {len(image) - 1}
    for place in sorted(places):
        wrong = bytes([image[place] ^ 1 << rng.randrange(8)])
        flash.erase(APP, len(image))
        flash.program(APP, image[:place] + wrong + image[place + 1 :])
        result = boot(flash, CHIPS[chip], "poweron")
        assert (result.app, result.retry_cause) == (None, "sw_sys"), place
        first, *rest = said(result)
        assert REFUSALS.fullmatch(first), (place, first)
        assert rest == [
            "E (64) boot: Factory app partition is not bootable",
            "E (64) boot: No bootable app partitions in the partition table",
        ]


def decoded(image):
    return esp_image.decode(lambda at, size: image[at : at + size], len(image))


@pytest.mark.parametrize(
    ("chip", "options", "text"),
    [
        ("esp32", {"min_rev_full": 302}, "Image requires chip rev >= v3.2, but chip is v3.1"),
        ("esp32", {"max_rev_full": 299}, "Image requires chip rev <= v2.99, but chip is v3.1"),
        ("esp32c3", {"min_rev_full": 101}, "Image requires chip rev >= v1.1, but chip is v0.4"),
        ("esp32s3", {"min_rev_full": 2, "max_rev_full": 99}, None),
        ("esp32", {"min_rev_full": 301, "max_rev_full": 301}, None),
        ("esp32", {"max_rev_full": 0}, None),  # as images of old have it
    ],
)
def test_an_app_for_other_revisions_of_the_chip(board, rng, chip, options, text):
    flash = board(chip, *complete(chip, rng, app(chip, rng, **options)))
    result = boot(flash, CHIPS[chip], "poweron")
    if text is None:
        assert result.app is not None
    else:
        assert said(result)[0] == f"E (64) boot_comm: {text}"


def test_a_second_stage_for_later_chips_restarts(board, rng):
    start = esp_image.encode(
        Header(0, 0x40078000, min_revision=400), [Segment(0x40078000, rng.randbytes(64))]
    )
    flash = board("esp32", *complete("esp32", rng), (0x1000, start))
    result = boot(flash, CHIPS["esp32"], "poweron")
    text = "E (28) boot_comm: Image requires chip rev >= v4.0, but chip is v3.1"
    assert (said(result), result.retry_cause) == ([text], "sw_sys")


def segment_image(*segments):
    return esp_image.encode(Header(0, 0x40080000), [Segment(at, data) for at, data in segments])


@pytest.mark.parametrize(
    ("image", "text"),
    [
        (
            segment_image((0x3F400010, bytes(64))),
            "Segment 0 load address 0x3f400010, doesn't match data 0x00010020",
        ),
        (
            segment_image((0x3FFB0000, bytes(8)), (0x20000000, bytes(16))),
            "Segment 1 0x20000000-0x20000010 invalid: bad load address range",
        ),
        (
            segment_image((0x400BFFF0 + 0x2000, bytes(0x40))),
            "Segment 0 0x400c1ff0-0x400c2030 invalid: bad load address range",
        ),
        (segment_image(), "Image hash failed - image is corrupt"),
    ],
)
def test_segments_that_cannot_be_loaded(board, rng, image, text):
    if not decoded(image).segments:
        image = image[:-1] + b"\0"  # no segment at all is no error in itself
    flash = board("esp32", *complete("esp32", rng, image))
    assert said(boot(flash, CHIPS["esp32"], "poweron"))[0] == f"E (64) esp_image: {text}"


def test_padding_is_not_loaded(board, rng):
    good = decoded(app("esp32", rng))
    image = esp_image.encode(good.header, [*good.segments[:3], Segment(0, bytes(64))])
    flash = board("esp32", *complete("esp32", rng, image))
    assert boot(flash, CHIPS["esp32"], "poweron").app is not None


def test_an_app_that_does_not_fit_is_refused_before_its_hash_is_looked_at(board, rng):
    image = app("esp32", rng)
    table = [Partition("factory", 0, 0, APP, 0x10000)]
    flash = board("esp32", *complete("esp32", rng, image[:-1] + b"\0", table))
    text = f"Image length {len(image)} doesn't fit in partition length 65536"
    assert said(boot(flash, CHIPS["esp32"], "poweron"))[0] == f"E (64) esp_image: {text}"


# -- what stands where the second stage belongs ---------------------------------------------------


def test_an_app_in_the_place_of_the_second_stage_stops_the_rom(board, rng):
    """Seen on boards: the ROM tells of the first segment, and the watchdog ends it."""
    image = app("esp32", rng)
    result = boot(board("esp32", (0x1000, image)), CHIPS["esp32"], "poweron")
    size = len(decoded(image).segments[0].data)
    assert (result.app, result.retry_cause) == (None, None)
    assert result.log.endswith(b"mode:DIO, clock div:2\r\nload:0x3f400020,len:%d\r\n" % size)


@pytest.mark.parametrize(
    ("chip", "other", "last"),
    [
        ("esp32", "esp32s3", "load:0x3fce3808,len:64"),  # no RAM there
        ("esp32c3", "esp32s3", "load:0x3fce3808,len:0x40"),
        ("esp32s3", "esp32c3", "entry 0x403cc718"),
    ],
)
def test_a_second_stage_of_another_chip_does_not_run(board, rng, chip, other, last):
    parts = (*complete(chip, rng), (CHIPS[chip].bootloader_offset, second_stage(other, rng)))
    result = boot(board(chip, *parts), CHIPS[chip], "poweron")
    assert (result.app, result.retry_cause) == (None, None)
    assert result.retry_ms > 0
    assert result.log.decode().split("\r\n")[-2] == last


# -- updates --------------------------------------------------------------------------------------


def states(flash):
    return [otadata.decode(flash.read(OTA_DATA + at, 32)) for at in (0, 0x1000)]


def test_a_new_app_that_is_not_declared_good_is_rolled_back(slots):
    flash, chain = slots(record(1, VALID), record(2, NEW))
    assert chain("sw").app.running.label == "ota_1"
    assert [each.state for each in states(flash)] == [VALID, PENDING_VERIFY]
    assert chain("sw").app.running.label == "ota_0"
    assert [each.state for each in states(flash)] == [VALID, ABORTED]
    assert chain("poweron").app.running.label == "ota_0"


def test_a_new_app_that_is_declared_good_stays(slots):
    flash, chain = slots(record(1, VALID), record(2, NEW))
    chain("sw")
    good = otadata.marked(states(flash)[1], VALID)
    flash.erase_sector(OTA_DATA + 0x1000)
    flash.program(OTA_DATA + 0x1000, good.encode())
    for cause in ("sw", "poweron"):
        assert chain(cause).app.running.label == "ota_1"
        assert states(flash)[1] == good


def test_the_first_boot_of_a_slot_is_written_down(slots):
    flash, chain = slots()
    assert chain("poweron").app.running.label == "ota_0"
    assert states(flash)[0] == record(1, VALID)
    assert states(flash)[1].blank


def test_deep_sleep_ends_in_the_app_that_slept(slots):
    flash, chain = slots(record(1, VALID), record(2, NEW))
    assert chain("sw").app.running.label == "ota_1"
    flash.program(OTHER + 0x2000, bytes(16))  # nor is it checked
    assert chain("deepsleep").app.running.label == "ota_1"
    assert states(flash)[1].state == PENDING_VERIFY
    assert chain("ext").app.running.label == "ota_0"


def test_a_wake_up_sees_what_was_written_during_the_sleep(slots):
    flash, chain = slots(record(1, VALID))
    chain("poweron")
    woken = chain("deepsleep")
    flash.program(flash.size - SECTOR_SIZE, bytes(8))  # a file system's business
    assert chain("deepsleep") == woken
    flash.erase_sector(TABLE_OFFSET)
    assert woken.app.partitions
    assert not chain("deepsleep").app.partitions


@pytest.mark.parametrize(
    ("records", "good", "running", "text"),
    [
        ((record(4, UNDEFINED), record(3, UNDEFINED)), (0, 1), "ota_1", None),
        ((record(2, INVALID), record(1, VALID)), (0, 1), "ota_0", None),
        ((record(2, ABORTED), record(1, INVALID)), (0, 1), "ota_0", None),
        ((record(2, VALID),), (0,), "ota_0", "OTA app partition slot 1 is not bootable"),
        ((record(1, VALID),), (1,), "ota_1", "OTA app partition slot 0 is not bootable"),
        (
            (otadata.Record(7, VALID, crc=1),),
            (0, 1),
            "ota_0",
            "ota data partition invalid and no factory, will try all partitions",
        ),
    ],
)
def test_which_slot_boots(slots, records, good, running, text):
    result = slots(*records, good=good)[1]("poweron")
    assert result.app.running.label == running
    assert (f"E (64) boot: {text}" in said(result)) == (text is not None)


def test_slots_are_counted_and_then_numbered(slots):
    """With a single slot of the number 1 the second stage looks for the number 0."""
    _, chain = slots(good=(1,), table=[*SLOTS[:2], SLOTS[3]])
    result = chain("poweron")
    assert result.app is None
    text = "E (64) boot: No bootable app partitions in the partition table"
    assert said(result) == [text]


def test_ota_data_without_room_for_two_records(slots):
    small = Partition("otadata", 1, 0, OTA_DATA, 0x1000)
    _, chain = slots(table=[SLOTS[0], small, *SLOTS[2:]])
    result = chain("poweron")
    assert (result.app, result.retry_cause) == (None, "sw_sys")
    text = "ota_info partition size 4096 is too small (minimum 8192 bytes)"
    assert said(result) == [f"E (64) boot: {text}"]


def test_the_test_app_is_the_last_resort(slots):
    table = [*SLOTS[:3], Partition("test", 0, 0x20, OTHER, 0x100000)]
    _, chain = slots(record(1, VALID), good=(1,), table=table)
    result = chain("poweron")
    assert result.app.running.label == "test"
    assert said(result)[-1] == "W (64) boot: Falling back to test app as only bootable partition"


@pytest.mark.parametrize(
    ("before", "slot", "index", "sequence"),
    [
        ((), 1, 0, 2),
        ((record(1, VALID),), 1, 1, 2),
        ((record(1, VALID), record(2, VALID)), 0, 0, 3),
        ((record(3, VALID), record(2, VALID)), 1, 1, 4),
        ((record(3, VALID), record(2, VALID)), 0, 1, 3),
    ],
)
def test_selecting_a_slot_writes_one_record(slots, before, slot, index, sequence):
    flash, chain = slots(*before)
    found = otadata.select(states(flash), slot, 2)
    assert found == (index, record(sequence, NEW))
    at = OTA_DATA + 0x1000 * index
    flash.erase_sector(at)
    flash.program(at, found[1].encode())
    assert chain("sw").app.running.subtype == 0x10 + slot
