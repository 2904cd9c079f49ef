"""Downlinks as bytes: data frames and join-accepts (TS001-1.0.4 sections 4 and 6.2.3)."""

from dataclasses import dataclass

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES128
from cryptography.hazmat.primitives.ciphers.modes import ECB

from citynode.phy import crypto
from citynode.phy.message import MType

FOPTS_MAX = 15
_CF_LIST_BYTES = 16


@dataclass(frozen=True)
class Content:
    """What a data frame carries, in plain: `payload` and `f_opts` are not yet encrypted."""

    f_cnt: int
    f_port: int | None = None
    payload: bytes = b""
    f_opts: bytes = b""
    confirmed: bool = False
    adr: bool = False
    ack: bool = False
    f_pending: bool = False

    @property
    def size(self) -> int:
        """The bytes that count against the largest application payload of a data rate."""
        return len(self.f_opts) + len(self.payload)


def data_down(dev_addr: int, nwk_skey: bytes, app_skey: bytes, content: Content) -> bytes:
    """Return the PHYPayload of a data downlink."""
    mtype = MType.CONFIRMED_DOWN if content.confirmed else MType.UNCONFIRMED_DOWN
    control = (
        content.adr << 7 | content.ack << 5 | content.f_pending << 4 | len(content.f_opts) & 0x0F
    )
    message = (
        bytes((mtype << 5,))
        + dev_addr.to_bytes(4, "little")
        + bytes((control,))
        + (content.f_cnt & 0xFFFF).to_bytes(2, "little")
        + content.f_opts
    )
    if content.f_port is not None:
        key = app_skey if content.f_port else nwk_skey
        sealed = crypto.crypt(key, False, dev_addr, content.f_cnt, content.payload)
        message += bytes((content.f_port,)) + sealed
    return message + crypto.data_mic(nwk_skey, False, dev_addr, content.f_cnt, message)


def join_accept(
    app_key: bytes,
    *,
    join_nonce: int,
    net_id: int,
    dev_addr: int,
    rx1_dr_offset: int,
    rx2_data_rate: int,
    delay_s: int,
    channels_hz: tuple[int, ...] = (),
) -> bytes:
    """Return the PHYPayload of a join-accept; with channels it has a CFList of type 0."""
    body = (
        bytes((MType.JOIN_ACCEPT << 5,))
        + join_nonce.to_bytes(3, "little")
        + net_id.to_bytes(3, "little")
        + dev_addr.to_bytes(4, "little")
        + bytes((rx1_dr_offset << 4 | rx2_data_rate, delay_s))
    )
    if channels_hz:
        steps = b"".join((hz // 100).to_bytes(3, "little") for hz in channels_hz)
        body += steps.ljust(_CF_LIST_BYTES, b"\0")
    plain = body[1:] + crypto.join_mic(app_key, body)
    # The node only encrypts, so the network decrypts: the specification's choice of mode and way.
    cipher = Cipher(AES128(app_key), ECB()).decryptor()  # noqa: S305
    return body[:1] + cipher.update(plain) + cipher.finalize()


def spoil_mic(phy: bytes) -> bytes:
    """Return a frame with another MIC."""
    return phy[:-1] + bytes((phy[-1] ^ 0x01,))
