"""LoRaWAN 1.0.x cryptography (TS001-1.0.4 sections 4.3.3, 4.4, 6.2) over AES of `cryptography`."""

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES128
from cryptography.hazmat.primitives.ciphers.modes import CTR, ECB
from cryptography.hazmat.primitives.cmac import CMAC

MIC_BYTES = 4


def cmac(key: bytes, data: bytes) -> bytes:
    """Return the AES-CMAC (RFC 4493) of the data, 16 bytes."""
    mac = CMAC(AES128(key))
    mac.update(data)
    return mac.finalize()


def join_mic(app_key: bytes, message: bytes) -> bytes:
    """Return the MIC of a join-request or a plain join-accept, MHDR included."""
    return cmac(app_key, message)[:MIC_BYTES]


def data_mic(nwk_skey: bytes, uplink: bool, dev_addr: int, f_cnt: int, message: bytes) -> bytes:
    """Return the MIC of a data frame (all of it but the MIC); `f_cnt` has 32 bits."""
    block = b"\x49" + _block(uplink, dev_addr, f_cnt) + bytes((0, len(message)))
    return cmac(nwk_skey, block + message)[:MIC_BYTES]


def crypt(key: bytes, uplink: bool, dev_addr: int, f_cnt: int, payload: bytes) -> bytes:
    """Encrypt or decrypt an FRMPayload: at most 255 bytes, so the counter has one byte."""
    first = b"\x01" + _block(uplink, dev_addr, f_cnt) + b"\0\x01"
    stream = Cipher(AES128(key), CTR(first)).encryptor()
    return stream.update(payload) + stream.finalize()


def open_join_accept(app_key: bytes, sealed: bytes) -> bytes:
    """Return a join-accept behind its MHDR in plain: the network decrypts, the node encrypts."""
    return _ecb(app_key, sealed)


def session_keys(
    app_key: bytes, join_nonce: int, net_id: int, dev_nonce: int
) -> tuple[bytes, bytes]:
    """Return NwkSKey and AppSKey of a join."""
    nonces = (
        join_nonce.to_bytes(3, "little")
        + net_id.to_bytes(3, "little")
        + dev_nonce.to_bytes(2, "little")
        + bytes(7)
    )
    return _ecb(app_key, b"\x01" + nonces), _ecb(app_key, b"\x02" + nonces)


def _block(uplink: bool, dev_addr: int, f_cnt: int) -> bytes:
    """Return what the blocks A and B0 have in common: bytes 1 to 13."""
    direction = b"\0" if uplink else b"\x01"
    return bytes(4) + direction + dev_addr.to_bytes(4, "little") + f_cnt.to_bytes(4, "little")


def _ecb(key: bytes, blocks: bytes) -> bytes:
    # Single blocks and 32 random bytes: the specification's choice, and no secret repeats.
    cipher = Cipher(AES128(key), ECB()).encryptor()  # noqa: S305
    return cipher.update(blocks) + cipher.finalize()
