"""What a write to encrypted flash leaves in the cells.

Source: technical reference manuals, "External Memory Encryption and Decryption"; ESP-IDF
Programming Guide, "Flash Encryption" (key and tweak of the ESP32).
"""

from collections.abc import Mapping

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from citynode.virtual.soc.chip import Chip
from citynode.virtual.soc.efuse import EFuse

_BLOCK = 16
_KEY_SIZE = 32
_KEY_BLOCK = 0x38  # of the ESP32: eFuse block 1
_CRYPT_CONFIG = 0x14  # of the ESP32: word 5 of block 0, upper four bits
_PURPOSES = {2: 0, 3: 1, 4: 0}  # of XTS keys, and which half of the key they are
_XTS_UNIT = 128  # bytes with one tweak
_XTS_POLYNOMIAL = 0x87

# The address bits that are mixed into the bits of the ESP32's key, in four parts, each of which
# FLASH_CRYPT_CONFIG can leave out.
_RUN = tuple(range(23, 4, -1))
_TWEAKS = tuple((*_RUN, *_RUN, *_RUN, *range(top, 4, -1)) for top in (14, 12, 10, 8))


def granularity(chip: Chip) -> int:
    """Return what addresses and lengths of an encrypted write are multiples of."""
    return 32 if chip.id == "esp32" else _BLOCK


def encrypt(chip: Chip, efuse: EFuse, address: int, data: bytes) -> bytes:
    """Return `data` as the flash controller writes it to `address` (both of whole blocks)."""
    if chip.id == "esp32":
        return _encrypt_esp32(efuse, address, data)
    halves = _xts_keys(efuse)
    key = halves.get(0, bytes(_KEY_SIZE)) + halves.get(1, b"")
    return _encrypt_xts(key, address, data)


def _reversed_blocks(data: bytes) -> list[bytes]:
    return [data[at : at + _BLOCK][::-1] for at in range(0, len(data), _BLOCK)]


def _encrypt_esp32(efuse: EFuse, address: int, data: bytes) -> bytes:
    """Each 32 bytes have a key of their own; the controller uses AES the other way round."""
    key = int.from_bytes(efuse.block(_KEY_BLOCK, _KEY_SIZE)[::-1], "big")
    config = efuse.read(_CRYPT_CONFIG) >> 28
    result = bytearray()
    for index, block in enumerate(_reversed_blocks(data)):
        at = address + index * _BLOCK
        tweaked = (key ^ _tweak(config, at & ~31)).to_bytes(_KEY_SIZE, "big")
        decryptor = Cipher(algorithms.AES(tweaked), modes.ECB()).decryptor()  # noqa: S305
        result += decryptor.update(block)[::-1]
    return bytes(result)


def _tweak(config: int, address: int) -> int:
    value = 0
    for part, bits in enumerate(_TWEAKS):
        for bit in bits:
            value = value << 1 | (config >> part & address >> bit & 1)
    return value


def _xts_keys(efuse: EFuse) -> Mapping[int, bytes]:
    """Return the halves of the XTS key that the key blocks hold, by their purpose."""
    purposes = efuse.security().key_purposes[:6]
    return {
        _PURPOSES[purpose]: efuse.key(number)[::-1]
        for number, purpose in enumerate(purposes)
        if purpose in _PURPOSES
    }


def _encrypt_xts(key: bytes, address: int, data: bytes) -> bytes:
    """AES-XTS with a tweak of the address of each 128 bytes, whose bytes are taken from the last.

    By hand, as the library refuses the key of a chip that has none: two equal halves.
    """
    half = len(key) // 2
    cipher = Cipher(algorithms.AES(key[:half]), modes.ECB()).encryptor()  # noqa: S305
    tweaker = Cipher(algorithms.AES(key[half:]), modes.ECB()).encryptor()  # noqa: S305
    start = address // _XTS_UNIT * _XTS_UNIT
    end = -(-(address + len(data)) // _XTS_UNIT) * _XTS_UNIT
    padded = bytes(address - start) + data + bytes(end - address - len(data))
    result = b""
    for at in range(start, end, _XTS_UNIT):
        unit = padded[at - start : at - start + _XTS_UNIT][::-1]
        tweak = int.from_bytes(tweaker.update(at.to_bytes(_BLOCK, "little")), "little")
        done = b""
        for index in range(0, _XTS_UNIT, _BLOCK):
            mask = tweak.to_bytes(_BLOCK, "little")
            done += _xor(cipher.update(_xor(unit[index : index + _BLOCK], mask)), mask)
            tweak <<= 1
            if tweak >> 128:
                tweak = tweak & ((1 << 128) - 1) ^ _XTS_POLYNOMIAL
        result += done[::-1]
    return result[address - start :][: len(data)]


def _xor(one: bytes, other: bytes) -> bytes:
    value = int.from_bytes(one, "little") ^ int.from_bytes(other, "little")
    return value.to_bytes(len(one), "little")
