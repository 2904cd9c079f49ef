"""The eFuses: one-way bits, protection and codes, beside the vendor's tool and its own model."""

import io
import json
import struct
import warnings
from types import SimpleNamespace

import esptool
import pytest
from citynode.errors import CitynodeError
from citynode.virtual.soc import slip
from citynode.virtual.soc.actions import Transmit
from citynode.virtual.soc.chip import CHIPS
from citynode.virtual.soc.efuse import EFuse
from citynode.virtual.soc.flash import NorFlash
from citynode.virtual.soc.rom import RomLoader
from rom_bench import MAC

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # it imports from click.parser
    import espefuse

KEY = bytes(range(1, 33))
every_chip = pytest.mark.parametrize("chip", sorted(CHIPS))


def registers(efuse, chip):
    size = 0x120 if chip == "esp32" else 0x200
    return b"".join(efuse.read(at).to_bytes(4, "little") for at in range(0, size, 4))


def blocks(raw, chip):
    """Return of all registers those that show the blocks."""
    return raw[:0x1C] + raw[0x38:0x98] if chip == "esp32" else raw[0x2C:0x17C]


class Fuses(EFuse):
    """eFuses with the register accesses that burn a block."""

    def __init__(self, chip, **options):
        super().__init__(CHIPS[chip], MAC, **options)
        self.chip = chip

    def burn(self, block, words, key=0x5A5A):
        if self.chip == "esp32":
            base, conf, command, run = (0x1C, 0x98, 0xB8, 0xD8)[block], 0xFC, 0x104, 2
        else:
            base, conf, command, run = 0, 0x1CC, 0x1D4, 2 | block << 2
        count = 11 if self.chip != "esp32" else 8 if block else 7
        for number in range(count):
            self.write(base + 4 * number, words.get(number, 0))
        self.write(conf, key)
        self.write(command, run)
        for number in range(count):
            self.write(base + 4 * number, 0)

    def word(self, block, number):
        if self.chip == "esp32":
            return self.read((0x00, 0x38, 0x58, 0x78)[block] + 4 * number)
        return self.read((0x2C, 0x44, *range(0x5C, 0x17C, 0x20))[block] + 4 * number)


# -- bits -----------------------------------------------------------------------------------------


@every_chip
def test_bits_are_only_ever_set_and_only_with_the_key(chip):
    fuses = Fuses(chip)
    fuses.burn(3, {2: 0b0101}, key=0x1234)
    assert fuses.word(3, 2) == 0
    fuses.burn(3, {2: 0b0101})
    fuses.burn(3, {2: 0b0011, 7: 1 << 31} if chip != "esp32" else {2: 0b0011})
    assert fuses.word(3, 2) == 0b0111
    fuses.burn(3, {})
    assert fuses.word(3, 2) == 0b0111


# (block, word, bits) that `bit` of the write-disable field guards, and some that it does not.
@pytest.mark.parametrize(
    ("chip", "bit", "guarded", "free"),
    [
        ("esp32", 0, (0, 0, 1 << 17), (0, 6, 1 << 6)),  # the read-disable field itself
        ("esp32", 1, (0, 0, 1 << 5), (0, 6, 1 << 6)),  # the write-disable field itself
        ("esp32", 3, (0, 3, 1), (0, 5, 1 << 30)),
        ("esp32", 5, (0, 4, 7 << 14), (0, 4, 1 << 11)),
        ("esp32", 9, (3, 0, 1), (2, 0, 1)),
        ("esp32s3", 0, (0, 1, 1), (0, 1, 1 << 16)),
        ("esp32s3", 4, (0, 2, 7 << 18), (0, 2, 1 << 21)),
        ("esp32s3", 23, (4, 0, 1), (5, 0, 1)),
        ("esp32c3", 18, (0, 4, 1 << 5), (0, 4, 1 << 31)),
        ("esp32c3", 22, (3, 0, 1), (4, 0, 1)),
    ],
)
def test_write_protection(chip, bit, guarded, free):
    fuses = Fuses(chip)
    before = fuses.word(*guarded[:2]) & guarded[2]
    fuses.burn(0, {0: 1 << bit})
    for block, word, bits in (guarded, free):
        fuses.burn(block, {word: bits})
    assert fuses.word(*guarded[:2]) & guarded[2] == before
    assert fuses.word(*free[:2]) & free[2] == free[2]


@pytest.mark.parametrize(
    ("chip", "protect", "block", "word"),
    [
        ("esp32", {0: 1 << 17}, 2, 1),
        ("esp32s3", {1: 1 << 0}, 4, 1),
        ("esp32c3", {1: 1 << 6}, 10, 1),
        ("esp32", {0: 1 << 19}, 0, 6),
    ],
)
def test_read_protection(chip, protect, block, word):
    fuses = Fuses(chip)
    fuses.burn(block, {word: 0x402})
    assert fuses.word(block, word) == 0x402
    fuses.burn(0, protect)
    assert fuses.word(block, word) == 0
    assert fuses.word(1, 0) == EFuse(CHIPS[chip], MAC).read(0x44 if chip != "esp32" else 0x38)


# -- codes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("chip", "failed"), [("esp32s3", 1 << 11), ("esp32c3", 1 << 15)])
def test_a_block_without_its_check_bytes_is_told(chip, failed):
    fuses = Fuses(chip)
    assert (fuses.read(0x1C0), fuses.read(0x1C4)) == (0, 0)
    fuses.burn(3, {0: 1})
    assert (fuses.read(0x1C0), fuses.read(0x1C4)) == (failed | 7 << 8, 0)


def coded_34(data):
    coded = b""
    for at in range(0, len(data), 6):
        chunk = data[at : at + 6]
        parity = 0
        for byte in chunk:
            parity ^= byte
        weight = sum((number + 1) * byte.bit_count() for number, byte in enumerate(chunk))
        coded += chunk + bytes((parity, weight))
    return {at // 4: int.from_bytes(coded[at : at + 4], "little") for at in range(0, 32, 4)}


def test_the_coding_scheme_of_the_esp32():
    fuses = Fuses("esp32")
    fuses.burn(0, {6: 1})
    words = coded_34(KEY[:24])
    fuses.burn(3, {number: words[number] for number in range(7)})
    assert fuses.read(0x11C) == 1 << 11  # the last chunk lacks its check bytes
    fuses.burn(3, {7: words[7]})
    assert fuses.read(0x11C) == 0
    read = b"".join(fuses.word(3, number).to_bytes(4, "little") for number in range(8))
    assert read == KEY[:24] + bytes(8)


# -- keeping --------------------------------------------------------------------------------------


@every_chip
def test_burned_bits_are_kept_in_a_file(chip, tmp_path):
    path = tmp_path / "efuse.bin"
    one = Fuses(chip, burned=path)
    assert not path.exists()
    one.burn(3, {1: 5})
    two = Fuses(chip, burned=path)
    two.burn(3, {2: 9})
    three = Fuses(chip, burned=path)
    assert (three.word(3, 1), three.word(3, 2)) == (5, 9)
    assert blocks(registers(three, chip), chip) == blocks(registers(two, chip), chip)
    assert three.mac == MAC
    path.write_bytes(b"short")
    with pytest.raises(CitynodeError, match="has 5 bytes"):
        Fuses(chip, burned=path)


# -- the vendor's tool ----------------------------------------------------------------------------

BURNS = {
    "esp32": [
        ("burn_custom_mac", "aa:cd:ef:01:02:03"),
        ("burn_key", ["flash_encryption"], [KEY]),
        ("set_flash_voltage", "3.3V"),
        ("burn_efuse", {"JTAG_DISABLE": 1, "CONSOLE_DEBUG_DISABLE": 1}),
        ("write_protect_efuse", ["JTAG_DISABLE"]),
        ("burn_bit", "BLOCK2", [3, 250]),
        ("read_protect_efuse", ["BLOCK2"]),
    ],
    "esp32s3": [
        ("burn_custom_mac", "aa:cd:ef:01:02:03"),
        ("burn_key", ["BLOCK_KEY0", "BLOCK_KEY1"], [KEY, KEY], ["XTS_AES_128_KEY", "USER"]),
        ("set_flash_voltage", "3.3V"),
        ("burn_efuse", {"DIS_USB_OTG": 1, "SPI_BOOT_CRYPT_CNT": 1}),
        ("write_protect_efuse", ["DIS_USB_OTG"]),
        ("burn_block_data", ["BLOCK_KEY2"], [KEY], 0),
    ],
    "esp32c3": [
        ("burn_custom_mac", "aa:cd:ef:01:02:03"),
        ("burn_key", ["BLOCK_KEY5"], [KEY], ["SECURE_BOOT_DIGEST0"]),
        ("burn_efuse", {"DIS_DOWNLOAD_ICACHE": 1}),
        ("write_protect_efuse", ["DIS_DOWNLOAD_ICACHE"]),
        ("burn_block_data", ["BLOCK_KEY2"], [KEY], 0),
    ],
}
REFUSED = {
    "esp32": [("set_flash_voltage", "1.8V"), ("burn_key", ["flash_encryption"], [KEY])],
    "esp32s3": [("burn_key", ["BLOCK_KEY0"], [KEY], ["USER"]), ("set_flash_voltage", "1.8V")],
    "esp32c3": [("burn_key", ["BLOCK_KEY5"], [KEY], ["USER"]), ("set_flash_voltage", "1.8V")],
}


def connected(chip, loader):
    """Return the tool's object of a chip that hangs on no serial port but on a loader itself."""

    class Chip(esptool.CHIP_DEFS[chip]):
        def __init__(self):
            self.secure_download_mode = False
            self.cache = dict.fromkeys(("flash_id", "uart_no", "eco_version", "security_info"))
            self._port = SimpleNamespace(baudrate=115_200)

        def command(self, op=None, data=b"", chk=0, wait_response=True, timeout=3):
            request = struct.pack("<BBHI", 0, op, len(data), chk) + data
            done = loader.receive(slip.encode(request))
            sent = b"".join(each.data for each in done if isinstance(each, Transmit))
            (packet,) = slip.Decoder(1000).feed(sent)
            direction, answered, _, value = struct.unpack_from("<BBHI", packet)
            assert (direction, answered) == (1, op)
            return value, packet[8:]

    return Chip()


def do(commands, command, *arguments):
    """Run one command of espefuse."""
    as_files = [
        [io.BytesIO(each) if isinstance(each, bytes) else each for each in argument]
        if isinstance(argument, list)
        else argument
        for argument in arguments
    ]
    getattr(commands, command)(*as_files)


def seen(commands, path):
    commands.summary([], "json", path.open("w"))
    return json.loads(path.read_text())


@every_chip
@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")  # of the tool's model
def test_espefuse_burns_as_its_own_model_of_the_chip_does(chip, tmp_path):
    fuses = Fuses(chip)
    flash = NorFlash(tmp_path / "flash.bin", 1 << 20)
    esp = connected(chip, RomLoader(CHIPS[chip], flash, fuses))
    model = tmp_path / "model.bin"
    # The tool keeps the registers of its model from the last to the first.
    model.write_bytes(registers(fuses, chip)[::-1])
    twin = espefuse.get_esp(chip=chip, virt=True, virt_efuse_file=str(model))
    sides = [espefuse.init_commands(esp=side, do_not_confirm=True) for side in (esp, twin)]
    for side in sides:
        for step in BURNS[chip]:
            do(side, *step)
        for step in REFUSED[chip]:
            with pytest.raises(esptool.FatalError):
                do(side, *step)
        do(side, "check_error")
    mine, theirs = (seen(side, tmp_path / "seen.json") for side in sides)
    assert mine == theirs
    assert mine["MAC"]["value"].startswith(MAC.hex(":"))
    raw = registers(fuses, chip)
    assert blocks(raw, chip) == blocks(model.read_bytes()[::-1], chip)
    flash.close()
