"""AES-CMAC (RFC 4493), payload encryption and session keys, from the AES block function alone.

A *block function* is `encrypt(source, target)`: AES-128-ECB of the 16 bytes of `source` into
`target`, which may be the same buffer; `cryptolib.aes(key, 1).encrypt` is one. Nothing here
allocates per block: every buffer belongs to its key.
"""

from node.wire.const import const

BLOCK = const(16)

UP = const(0)
DOWN = const(1)

# The first octet of the blocks B0 (TS001 section 4.4) and Ai (section 4.3.3).
MIC_BLOCK = const(0x49)
STREAM_BLOCK = const(0x01)

# The first octet of what the session keys are made from (TS001 section 6.2.6).
NWK_KEY = const(0x01)
APP_KEY = const(0x02)

_RB = const(0x87)  # RFC 4493 section 2.3


class Key:
    """An AES-128 key with its CMAC subkeys, made from its block function."""

    def __init__(self, encrypt) -> None:
        self._encrypt = encrypt
        self._x = bytearray(BLOCK)
        self._a = bytearray(BLOCK)
        self._k1 = bytearray(BLOCK)
        self._k2 = bytearray(BLOCK)
        encrypt(self._x, self._a)
        _double(self._a, self._k1)
        _double(self._k1, self._k2)

    def cmac(self, data, start: int, end: int) -> bytearray:
        """Return the CMAC of `data[start:end]`, in a buffer that the next use overwrites."""
        x = self._x
        encrypt = self._encrypt
        for i in range(BLOCK):
            x[i] = 0
        while end - start > BLOCK:
            for i in range(BLOCK):
                x[i] ^= data[start + i]
            encrypt(x, x)
            start += BLOCK
        rest = end - start
        for i in range(rest):
            x[i] ^= data[start + i]
        last = self._k1
        if rest < BLOCK:
            x[rest] ^= 0x80
            last = self._k2
        for i in range(BLOCK):
            x[i] ^= last[i]
        encrypt(x, x)
        return x

    def stream(self, data, start: int, end: int, direction: int, dev_addr, fcnt: int) -> None:
        """Encrypt or decrypt an FRMPayload, `data[start:end]`, in place (TS001 section 4.3.3)."""
        a = self._a
        x = self._x
        put_block(a, 0, STREAM_BLOCK, direction, dev_addr, fcnt, 0)
        while start < end:
            a[15] += 1
            self._encrypt(a, x)
            n = min(BLOCK, end - start)
            for i in range(n):
                data[start + i] ^= x[i]
            start += n

    def encrypt(self, data, start: int, end: int) -> None:
        """Encrypt whole blocks, `data[start:end]`, in place, each by itself."""
        x = self._x
        while start < end:
            for i in range(BLOCK):
                x[i] = data[start + i]
            self._encrypt(x, x)
            for i in range(BLOCK):
                data[start + i] = x[i]
            start += BLOCK

    def derive(self, kind: int, nonces, dev_nonce: int) -> bytes:
        """Return a session key; `nonces` are JoinNonce and NetID as on the air (6 bytes)."""
        x = self._x
        for i in range(BLOCK):
            x[i] = 0
        x[0] = kind
        x[1:7] = nonces
        x[7] = dev_nonce & 0xFF
        x[8] = dev_nonce >> 8
        self._encrypt(x, x)
        return bytes(x)


def put_block(block, at: int, kind: int, direction: int, dev_addr, fcnt: int, last: int) -> None:
    """Write the block B0 or A0 at `block[at:]`; `dev_addr` is as on the air."""
    for i in range(BLOCK):
        block[at + i] = 0
    block[at] = kind
    block[at + 5] = direction
    for i in range(4):
        block[at + 6 + i] = dev_addr[i]
        block[at + 10 + i] = (fcnt >> (8 * i)) & 0xFF
    block[at + 15] = last


def _double(source, target) -> None:
    # Multiply by x in GF(2^128), RFC 4493 section 2.3.
    carry = 0
    for i in range(BLOCK - 1, -1, -1):
        target[i] = (source[i] << 1 | carry) & 0xFF
        carry = source[i] >> 7
    if carry:
        target[BLOCK - 1] ^= _RB
