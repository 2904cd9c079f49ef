"""The unmodified esptool and espefuse against the virtual chips."""

import hashlib
import json
import random
import re
import struct
import subprocess
import threading
import time

import pytest
from rom_bench import MAC, TOOLS, RomBench

MIB = 1 << 20
SIZES = {"esp32": 4 * MIB, "esp32s3": 8 * MIB, "esp32c3": 4 * MIB}
RAM = {"esp32": 0x3FFB_0000, "esp32s3": 0x3FC9_0000, "esp32c3": 0x3FC9_0000}
IRAM = {"esp32": 0x4008_0000, "esp32s3": 0x4037_8000, "esp32c3": 0x4038_0000}
DESCRIPTIONS = {
    "esp32": "ESP32-D0WD-V3 (revision v3.1)",
    "esp32s3": "ESP32-S3 (QFN56) (revision v0.2)",
    "esp32c3": "ESP32-C3 (QFN32) (revision v0.4)",
}

every_chip = pytest.mark.parametrize("bench", list(SIZES), indirect=True)
both_loaders = pytest.mark.parametrize("stub", [True, False], ids=["stub", "rom"])


@pytest.fixture
def bench(request, tmp_path):
    chip = getattr(request, "param", "esp32")
    with RomBench(chip, tmp_path, SIZES[chip]) as bench:
        yield bench


def noise(size, seed=0):
    """Data that does not compress."""
    return random.Random(seed).randbytes(size)


def code(size, seed=0):
    """Data that compresses to about half."""
    rng = random.Random(seed)
    words = [rng.randbytes(6) for _ in range(500)]
    return b"".join(rng.choices(words, k=size // 6 + 1))[:size]


@pytest.fixture
def save(tmp_path):
    def save(name, data):
        path = tmp_path / name
        path.write_bytes(data)
        return path

    return save


def flash_of(bench, address, length):
    return bench.call(lambda: bench.flash.read(address, length))


# -- who is there ---------------------------------------------------------------------------------


@every_chip
@both_loaders
def test_identity(bench, stub):
    out = bench.esptool("flash-id", stub=stub)
    assert DESCRIPTIONS[bench.chip.id] in out
    assert "Crystal frequency:  40MHz" in out
    assert f"MAC:                {MAC.hex(':')}" in out
    assert ("Stub flasher running" in out) is stub
    vendor = {"esp32": "ef", "esp32s3": "ef", "esp32c3": "20"}[bench.chip.id]
    assert f"Manufacturer: {vendor}\n" in out
    assert f"Detected flash size: {SIZES[bench.chip.id] // MIB}MB" in out
    assert "WARNING" not in out.upper()
    if bench.chip.id != "esp32c3":
        assert "Flash voltage set by a strapping pin: 3.3V" in out


@every_chip
def test_chip_is_detected_without_being_named(bench):
    bench.download()
    done = bench.tool("esptool", "--port", bench.pty, "--before", "no-reset", "read-mac")
    # The hard reset at the end is what a PTY cannot do; esptool says so and is content.
    assert done.returncode == 0, done.stdout
    assert f"Connected to {bench.chip.name} on" in done.stdout


@pytest.mark.parametrize("bench", ["esp32s3", "esp32c3"], indirect=True)
@both_loaders
def test_security_info(bench, stub):
    out = bench.esptool("get-security-info", stub=stub)
    assert f"Chip ID: {bench.chip.image_chip_id}\n" in out
    assert "Secure Boot: Disabled" in out
    assert "Flash Encryption: Disabled" in out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--no-stub"], "This command (0x14) is not supported in the current download mode"),
        ([], "Failed to get security info (result was FF00: Command not implemented)"),
    ],
    ids=["rom", "stub"],
)
def test_the_esp32_has_no_security_info(bench, options, message):
    bench.download()
    options = ["--port", bench.pty, "--chip", "esp32", "--before", "no-reset", *options]
    done = bench.tool("esptool", *options, "get-security-info")
    assert done.returncode == 2
    assert message in done.stdout


def test_wrong_chip_is_noticed(bench):
    bench.download()
    options = ["--port", bench.pty, "--chip", "esp32s3", "--before", "no-reset"]
    done = bench.tool("esptool", *options, "flash-id")
    assert done.returncode == 2
    assert "This chip is ESP32, not ESP32-S3. Wrong chip argument?" in done.stdout


@pytest.mark.parametrize("version", ["1", "2"])
@every_chip
def test_both_generations_of_the_stub_run(bench, version):
    out = bench.esptool("--stub-version", version, "flash-id")
    assert "Stub flasher running" in out
    assert "Detected flash size" in out


# -- writing --------------------------------------------------------------------------------------


@every_chip
@both_loaders
@pytest.mark.parametrize("compress", ["--compress", "--no-compress"])
def test_write_verify_and_read_back(bench, stub, compress, save, tmp_path):
    data = code(50_001)
    path = save("image.bin", data)
    out = bench.esptool("write-flash", compress, "0x11000", path, stub=stub)
    assert "Hash of data verified" in out
    assert flash_of(bench, 0x11000, len(data)) == data
    assert flash_of(bench, 0x11000 - 16, 16) == b"\xff" * 16
    out = bench.esptool("verify-flash", "0x11000", path, stub=stub)
    assert "Verification successful (digest matched)" in out
    back = tmp_path / "back.bin"
    length = len(data) if stub else 3000  # the ROM gives 64 bytes at a time
    bench.esptool("read-flash", "0x11000", length, back, stub=stub)
    assert back.read_bytes() == data[:length]


@every_chip
def test_write_of_several_files_at_high_speed(bench, save):
    parts = {0x1000: noise(20_000, 1), 0x8000: code(3072, 2), 0x10000: code(300_000, 3)}
    arguments = []
    for address, data in parts.items():
        arguments += [hex(address), save(f"{address:x}.bin", data)]
    out = bench.esptool("--baud", 921600, "write-flash", *arguments)
    assert "Changing baud rate to 921600" in out
    assert out.count("Hash of data verified") == 3
    for address, data in parts.items():
        assert flash_of(bench, address, len(data)) == data


@both_loaders
def test_write_at_an_odd_address_spares_what_is_before_its_sector(bench, stub, save):
    first = noise(0x2000, 1)
    bench.esptool("write-flash", "0x20000", save("first.bin", first), stub=stub)
    second = noise(1000, 2)
    bench.esptool("write-flash", "0x21100", save("second.bin", second), stub=stub)
    expected = first[:0x1000] + b"\xff" * 0x100 + second
    assert flash_of(bench, 0x20000, len(expected)) == expected
    assert flash_of(bench, 0x21100 + 1000, 0x1000 - 0x100 - 1000) == b"\xff" * (0xF00 - 1000)


@every_chip
def test_image_header_is_given_the_detected_size(bench, save):
    image = bytes([0xE9, 0, 2, 0x00]) + bytes(8)
    image += struct.pack("<H", bench.chip.image_chip_id) + bytes(10) + noise(2000)
    address = bench.chip.bootloader_offset
    bench.esptool("write-flash", "--flash-size", "detect", hex(address), save("b.bin", image))
    expected = {4: 0x20, 8: 0x30}[SIZES[bench.chip.id] // MIB]
    assert flash_of(bench, address, 4) == bytes([0xE9, 0, 2, expected])


def test_skip_flashed_writes_only_what_differs(bench, save):
    one, two = save("one.bin", code(30_000, 1)), save("two.bin", code(30_000, 2))
    bench.esptool("write-flash", "0x0", one, "0x10000", two)
    counts = list(bench.flash.erase_counts)
    new = save("new.bin", code(30_000, 3))
    out = bench.esptool("write-flash", "--skip-flashed", "0x0", one, "0x10000", new)
    assert "already in flash, skipping write" in out
    assert bench.flash.erase_counts[0] == counts[0]
    assert bench.flash.erase_counts[16] == counts[16] + 1
    assert flash_of(bench, 0x10000, 30_000) == new.read_bytes()


@both_loaders
def test_diff_with_rewrites_changed_sectors_only(bench, stub, save):
    old = noise(0x8000, 1)
    new = old[:0x3000] + noise(0x1000, 2) + old[0x4000:]
    one, two = save("old.bin", old), save("new.bin", new)
    bench.esptool("write-flash", "0x40000", one, stub=stub)
    counts = list(bench.flash.erase_counts)
    out = bench.esptool("write-flash", "--diff-with", one, "--", "0x40000", two, stub=stub)
    assert "Reflashing 1 changed sector" in out
    assert "Hash of data verified" in out
    assert flash_of(bench, 0x40000, 0x8000) == new
    changed = [n for n, count in enumerate(bench.flash.erase_counts) if count != counts[n]]
    assert changed == [0x43]


def test_diff_with_the_wrong_file_ends_in_a_full_write(bench, save):
    data = noise(0x4000, 1)
    bench.esptool("write-flash", "0x40000", save("there.bin", noise(0x4000, 2)))
    believed = save("believed.bin", data[:0x1000] + noise(0x1000, 3) + data[0x2000:])
    path = save("new.bin", data)
    out = bench.esptool("write-flash", "--diff-with", believed, "--", "0x40000", path)
    assert "Reflashing the whole image" in out
    assert flash_of(bench, 0x40000, len(data)) == data


def test_verify_tells_a_difference(bench, save):
    bench.esptool("write-flash", "0x0", save("a.bin", code(5000, 1)))
    bench.download()
    options = ["--port", bench.pty, "--chip", "esp32", "--before", "no-reset"]
    path = save("b.bin", code(5000, 2))
    done = bench.tool("esptool", *options, "verify-flash", "0x0", path)
    assert done.returncode == 2
    assert "Verification failed (digest mismatch)" in done.stdout


def test_image_that_does_not_fit_is_refused_before_anything_is_erased(bench, save):
    bench.esptool("write-flash", "0x3ff000", save("end.bin", noise(0x1000)))
    bench.download()
    options = ["--port", bench.pty, "--chip", "esp32", "--before", "no-reset"]
    done = bench.tool("esptool", *options, "write-flash", "0x3ff000", save("x.bin", noise(0x1001)))
    assert done.returncode == 2
    assert "will not fit in 4194304 bytes of flash" in done.stdout
    assert flash_of(bench, 0x3FF000, 0x1000) == noise(0x1000)


# -- erasing --------------------------------------------------------------------------------------


@every_chip
@both_loaders
def test_erase_region(bench, stub, save):
    data = noise(0x4000)
    bench.esptool("write-flash", "0x300000", save("x.bin", data), stub=stub)
    bench.esptool("erase-region", "0x301000", "0x2000", stub=stub)
    expected = data[:0x1000] + b"\xff" * 0x2000 + data[0x3000:]
    assert flash_of(bench, 0x300000, 0x4000) == expected


@every_chip
def test_erase_flash(bench, save):
    bench.esptool("write-flash", "0x0", save("x.bin", noise(5000)))
    out = bench.esptool("erase-flash")
    assert "Flash memory erased successfully" in out
    blank = hashlib.md5(b"\xff" * bench.flash.size).hexdigest()
    assert hashlib.md5(flash_of(bench, 0, bench.flash.size)).hexdigest() == blank


def test_erase_all_before_a_write(bench, save):
    bench.esptool("write-flash", "0x200000", save("x.bin", noise(100)))
    bench.esptool("write-flash", "--erase-all", "0x0", save("y.bin", noise(100, 1)))
    assert flash_of(bench, 0x200000, 100) == b"\xff" * 100
    assert flash_of(bench, 0, 100) == noise(100, 1)


@pytest.mark.slow
def test_pace_makes_erasing_take_its_time(tmp_path):
    with RomBench("esp32", tmp_path, 4 * MIB, paced=True) as bench:
        out = bench.esptool("erase-region", "0x0", "0x81000")
    took = float(re.search(r"region erased successfully in ([\d.]+) seconds", out)[1])
    # Eight blocks and a sector.
    assert 8 * 0.150 + 0.045 - 0.06 < took < 3


# -- registers and RAM ----------------------------------------------------------------------------


@every_chip
@both_loaders
def test_memory(bench, stub, tmp_path):
    ram = RAM[bench.chip.id]
    bench.esptool("write-mem", hex(ram), "0x12345678", stub=stub)
    stay = {"stub": stub, "enter": False}
    assert f"{ram:#010x} = 0x12345678" in bench.esptool("read-mem", hex(ram), **stay)
    bench.esptool("write-mem", hex(ram), "0xffffffff", "0x0000ff00", **stay)
    assert f"{ram:#010x} = 0x1234ff78" in bench.esptool("read-mem", hex(ram), **stay)
    dump = tmp_path / "dump.bin"
    bench.esptool("dump-mem", hex(ram), 8, dump, **stay)
    assert dump.read_bytes() == struct.pack("<II", 0x1234FF78, 0)


def test_magic_word_of_the_rom(bench):
    assert "0x40001000 = 0x00f01d83" in bench.esptool("read-mem", "0x40001000")


@every_chip
def test_flash_status_and_sfdp(bench):
    assert "Flash memory status: 0x0200" in bench.esptool("read-flash-status", "--bytes", 2)
    bench.esptool("write-flash-status", "--non-volatile", "--bytes", 2, "0x0204")
    assert "Flash memory status: 0x0204" in bench.esptool("read-flash-status", "--bytes", 2)
    bench.esptool("erase-region", "0x1000", "0x1000")
    assert "Flash memory status: 0x0200" in bench.esptool("read-flash-status", "--bytes", 2)
    assert "0x53 0x46 0x44 0x50" in bench.esptool("read-flash-sfdp", 0, 4)


@every_chip
def test_load_ram_starts_a_program_that_owes_nobody_an_answer(bench, save):
    entry = IRAM[bench.chip.id]
    data = noise(256)
    image = struct.pack("<BBBBI", 0xE9, 1, 2, 0x20, entry)
    image += struct.pack("<BBBBHBHHBBBBB", 0xEE, 0, 0, 0, bench.chip.image_chip_id, *[0] * 8)
    image += struct.pack("<II", entry, len(data)) + data
    image += bytes(15 - len(image) % 16)
    parity = 0xEF
    for byte in data:
        parity ^= byte
    bench.esptool("load-ram", save("ram.bin", image + bytes([parity])), stub=False)
    options = ["--port", bench.pty, "--chip", bench.chip.id, "--before", "no-reset"]
    done = bench.tool("esptool", *options, "--connect-attempts", 1, "read-mac")
    assert done.returncode == 2
    assert "No serial data received" in done.stdout


# -- how a session ends ---------------------------------------------------------------------------


@every_chip
def test_stub_stays_for_the_next_session(bench):
    bench.esptool("read-mac")
    out = bench.esptool("flash-id", enter=False)
    assert "Stub flasher is already running. No upload is necessary." in out
    assert "Detected flash size" in out


@every_chip
def test_stub_goes_back_to_the_rom(bench):
    bench.esptool("read-mac", after="no-reset")
    bench.wait_for_start("download", "sw")
    out = bench.esptool("flash-id", enter=False)
    assert "Uploading stub flasher" in out


@every_chip
def test_run_leaves_download_mode(bench):
    bench.esptool("run", stub=False)
    bench.wait_for_start("flash", "sw")


@pytest.mark.parametrize("bench", ["esp32s3", "esp32c3"], indirect=True)
@both_loaders
def test_watchdog_reset(bench, stub):
    bench.download()
    options = ["--port", bench.pty, "--chip", bench.chip.id, "--before", "no-reset"]
    options += [] if stub else ["--no-stub"]
    done = bench.tool("esptool", *options, "--after", "watchdog-reset", "read-mac")
    assert done.returncode == 0, done.stdout
    assert "Hard resetting with a watchdog" in done.stdout
    bench.wait_for_start("flash", "rtc_wdt")


@pytest.mark.parametrize("share", [0.02, 0.5, 0.95])
def test_killed_write_is_repaired_by_a_rerun(bench, save, share):
    path = save("big.bin", noise(400_000))
    left = [int(share * 400_000 / 256)]
    reached = threading.Event()

    def hook(operation, address, length):
        left[0] -= operation == "program"
        if left[0] == 0:
            reached.set()
            time.sleep(0.2)

    bench.download()
    bench.call(lambda: setattr(bench.flash, "hook", hook))
    options = ["--port", bench.pty, "--chip", "esp32", "--before", "no-reset"]
    command = [TOOLS / "esptool", *options, "write-flash", "0x10000", path]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as tool:
        assert reached.wait(60)
        tool.kill()
    bench.call(lambda: setattr(bench.flash, "hook", None))
    assert flash_of(bench, 0x10000, 400_000) != path.read_bytes()
    bench.esptool("write-flash", "0x10000", path)
    assert flash_of(bench, 0x10000, 400_000) == path.read_bytes()


# -- over RFC 2217: pyserial spends 0.2 s on each request -----------------------------------------


@pytest.mark.slow
@every_chip
def test_whole_session_over_rfc2217(bench, save):
    data = code(20_000)
    stub = [] if bench.chip.id != "esp32c3" else ["--no-stub"]
    options = ["--port", bench.url, *stub, "--baud", "460800"]
    done = bench.tool("esptool", *options, "write-flash", "0x10000", save("x.bin", data))
    assert done.returncode == 0, done.stdout
    assert f"Connected to {bench.chip.name} on" in done.stdout
    assert "Changing baud rate to 460800" in done.stdout
    assert "Hash of data verified" in done.stdout
    assert "Hard resetting via RTS pin" in done.stdout
    assert flash_of(bench, 0x10000, len(data)) == data
    bench.wait_for_start("flash", "ext")
    assert ("download", "ext") in bench.starts


@pytest.mark.slow
def test_slow_line_over_rfc2217(bench):
    done = bench.tool("esptool", "--port", bench.url, "--baud", "19200", "--no-stub", "read-mac")
    assert done.returncode == 0, done.stdout
    # The crystal is worked out from the divider of the UART, so the speed must be in it.
    assert "Crystal frequency:  40MHz" in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("bench", ["esp32s3"], indirect=True)
def test_efuse_summary_over_rfc2217(bench):
    done = bench.tool("espefuse", "--port", bench.url, "summary")
    assert done.returncode == 0, done.stdout
    assert MAC.hex(":") in done.stdout


# -- eFuses ---------------------------------------------------------------------------------------


def espefuse(bench, *args):
    options = ["--port", bench.pty, "--chip", bench.chip.id, "--before", "no-reset"]
    bench.download()
    done = bench.tool("espefuse", *options, *args)
    assert done.returncode == 0, done.stdout
    return done.stdout


@every_chip
def test_efuse_summary(bench):
    out = espefuse(bench, "summary", "--format", "json")
    fuses = json.loads(out[out.index("{") : out.rindex("}") + 1])
    assert fuses["MAC"]["value"].startswith(MAC.hex(":"))
    if bench.chip.id == "esp32":
        assert "OK" in fuses["MAC"]["value"]
        assert fuses["CODING_SCHEME"]["value"] == "NONE (BLK1-3 len=256 bits)"
        assert fuses["FLASH_CRYPT_CNT"]["value"] == 0
    else:
        assert fuses["BLOCK_KEY0"]["value"].startswith("00 00")
        assert fuses["SECURE_BOOT_EN"]["value"] is False
    text = espefuse(bench, "summary")
    assert "Mac fuses" in text
    assert "[ERRORS" not in text


@every_chip
def test_efuse_custom_mac_is_burned(bench):
    espefuse(bench, "--do-not-confirm", "burn-custom-mac", "aa:cd:ef:01:02:03")
    assert "aa:cd:ef:01:02:03" in espefuse(bench, "get-custom-mac").lower()


@pytest.mark.parametrize("bench", ["esp32s3"], indirect=True)
def test_key_is_burned_and_hidden(bench, save):
    key = save("key.bin", noise(32))
    espefuse(bench, "--do-not-confirm", "burn-key", "BLOCK_KEY0", key, "XTS_AES_128_KEY")
    text = espefuse(bench, "summary")
    assert re.search(r"KEY_PURPOSE_0.*XTS_AES_128_KEY", text)
    assert "?? ?? ??" in text
    assert "XTS_AES_128_KEY" in bench.esptool("get-security-info")
