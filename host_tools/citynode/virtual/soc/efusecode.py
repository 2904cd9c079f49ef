"""The codes that protect eFuse blocks: Reed-Solomon on later chips, 3/4 on the ESP32.

Source: technical reference manuals, chapter "eFuse Controller" (hardware encoding of blocks).
"""

RS_DATA, RS_CHECK = 32, 12  # bytes
CHUNK_DATA, CHUNK_CODED = 6, 8  # bytes in 3/4
_POLYNOMIAL = 0x11D

_POWERS = [1]
for _ in range(254):
    _POWERS.append(_POWERS[-1] << 1 ^ (_POLYNOMIAL if _POWERS[-1] & 0x80 else 0))
_LOGARITHMS = {value: exponent for exponent, value in enumerate(_POWERS)}


def _times(one: int, other: int) -> int:
    if not one or not other:
        return 0
    return _POWERS[(_LOGARITHMS[one] + _LOGARITHMS[other]) % 255]


def _generator() -> list[int]:
    """Return the product of (x - a^i), highest coefficient first."""
    result = [1]
    for root in range(RS_CHECK):
        shifted = [*result, 0]
        scaled = [0, *(_times(each, _POWERS[root]) for each in result)]
        result = [one ^ other for one, other in zip(shifted, scaled, strict=True)]
    return result


_GENERATOR = _generator()


def rs_check(data: bytes) -> bytes:
    """Return the 12 check bytes of 32 data bytes."""
    remainder = bytearray(RS_CHECK)
    for byte in data:
        factor = byte ^ remainder[0]
        remainder = remainder[1:] + b"\0"
        for index, coefficient in enumerate(_GENERATOR[1:]):
            remainder[index] ^= _times(factor, coefficient)
    return bytes(remainder)


def decode_34(coded: bytes) -> tuple[bytes, int]:
    """Return the data of coded chunks, and a bit for each chunk whose check bytes are wrong."""
    data, wrong = b"", 0
    for number, at in enumerate(range(0, len(coded), CHUNK_CODED)):
        chunk = coded[at : at + CHUNK_DATA]
        parity = weight = 0
        for index, byte in enumerate(chunk):
            parity ^= byte
            weight += (index + 1) * byte.bit_count()
        if bytes((parity, weight & 0xFF)) != coded[at + CHUNK_DATA : at + CHUNK_CODED]:
            wrong |= 1 << number
        data += chunk
    return data, wrong
