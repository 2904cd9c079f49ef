"""PHYPayloads taken apart: any bytes give a message or a PhyError; no keys are needed here."""

from dataclasses import dataclass
from enum import IntEnum

from citynode.phy.crypto import MIC_BYTES

MAX_BYTES = 255


class PhyError(Exception):
    """Bytes that are no PHYPayload of LoRaWAN 1.0.x; the text says why."""


class MType(IntEnum):
    """Message types (TS001-1.0.4 section 4.2.1)."""

    JOIN_REQUEST = 0
    JOIN_ACCEPT = 1
    UNCONFIRMED_UP = 2
    UNCONFIRMED_DOWN = 3
    CONFIRMED_UP = 4
    CONFIRMED_DOWN = 5

    @property
    def label(self) -> str:
        """The name as people write it."""
        return self.name.lower().replace("_", " ")


@dataclass(frozen=True)
class JoinRequest:
    """EUIs as they are printed, most significant byte first."""

    raw: bytes
    join_eui: bytes
    dev_eui: bytes
    dev_nonce: int
    mtype = MType.JOIN_REQUEST


@dataclass(frozen=True)
class JoinAccept:
    """A join-accept as it was on the air: `sealed` is encrypted with the AppKey."""

    raw: bytes
    sealed: bytes
    mtype = MType.JOIN_ACCEPT


@dataclass(frozen=True)
class JoinGrant:
    """What a join-accept grants.

    `delay_s` is RECEIVE_DELAY1, `frequencies_hz` and `ch_masks` are from a CFList of type 0 or 1.
    """

    join_nonce: int
    net_id: int
    dev_addr: int
    opt_neg: bool
    rx1_dr_offset: int
    rx2_data_rate: int
    delay_s: int
    frequencies_hz: tuple[int, ...] = ()
    ch_masks: tuple[int, ...] = ()


@dataclass(frozen=True)
class Data:
    """A data frame; `f_cnt` is the lower half of the counter, `payload` is encrypted."""

    raw: bytes
    mtype: MType
    dev_addr: int
    f_ctrl: int
    f_cnt: int
    f_opts: bytes
    f_port: int | None
    payload: bytes

    @property
    def uplink(self) -> bool:
        """Whether a node sent it."""
        return self.mtype in (MType.UNCONFIRMED_UP, MType.CONFIRMED_UP)

    @property
    def flags(self) -> tuple[str, ...]:
        """Names of the bits that are set in FCtrl."""
        names = ("adr", "adr_ack_req", "ack", "class_b") if self.uplink else _DOWN_FLAGS
        return tuple(name for bit, name in enumerate(names) if self.f_ctrl << bit & 0x80)


Message = JoinRequest | JoinAccept | Data

_DOWN_FLAGS = ("adr", "rfu", "ack", "f_pending")
_CF_LIST_BYTES = 16


def parse(raw: bytes) -> Message:
    """Take a PHYPayload apart; raises PhyError."""
    if not raw:
        raise PhyError("empty")
    if len(raw) > MAX_BYTES:
        raise PhyError(f"{len(raw)} bytes are more than LoRa can carry")
    if raw[0] & 0x03:
        raise PhyError(f"major version {raw[0] & 0x03} is not LoRaWAN R1")
    mtype = raw[0] >> 5
    if mtype > MType.CONFIRMED_DOWN:
        raise PhyError("a proprietary message" if mtype == 7 else "MType 6 is not in LoRaWAN 1.0")
    if mtype == MType.JOIN_REQUEST:
        _check_size(raw, (23,), "join-request")
        dev_nonce = int.from_bytes(raw[17:19], "little")
        return JoinRequest(raw, raw[8:0:-1], raw[16:8:-1], dev_nonce)
    if mtype == MType.JOIN_ACCEPT:
        _check_size(raw, (17, 33), "join-accept")
        return JoinAccept(raw, raw[1:])
    return _parse_data(raw, MType(mtype))


def is_likely(raw: bytes) -> bool:
    """Tell whether bytes of unknown kind look like a PHYPayload; no frame of ours ever does."""
    try:
        parse(raw)
    except PhyError:
        return False
    return not raw[0] & 0x1F


def _check_size(raw: bytes, sizes: tuple[int, ...], what: str) -> None:
    if len(raw) not in sizes:
        wanted = " or ".join(map(str, sizes))
        raise PhyError(f"a {what} has {wanted} bytes, not {len(raw)}")


def _parse_data(raw: bytes, mtype: MType) -> Data:
    body = raw[1:-MIC_BYTES]
    if len(body) < 7:
        raise PhyError(f"a data frame has at least 12 bytes, not {len(raw)}")
    f_opts_end = 7 + (body[4] & 0x0F)
    if f_opts_end > len(body):
        raise PhyError("the MAC commands in FOpts are longer than the frame")
    rest = body[f_opts_end:]
    return Data(
        raw=raw,
        mtype=mtype,
        dev_addr=int.from_bytes(body[:4], "little"),
        f_ctrl=body[4],
        f_cnt=int.from_bytes(body[5:7], "little"),
        f_opts=body[7:f_opts_end],
        f_port=rest[0] if rest else None,
        payload=rest[1:],
    )


def parse_grant(plain: bytes) -> JoinGrant:
    """Take a decrypted join-accept (without MHDR and MIC) apart: 12 or 28 bytes."""
    settings = plain[10]
    cf_list = plain[12:]
    frequencies: tuple[int, ...] = ()
    masks: tuple[int, ...] = ()
    if len(cf_list) == _CF_LIST_BYTES and cf_list[15] == 0:
        steps = (int.from_bytes(cf_list[at : at + 3], "little") for at in range(0, 15, 3))
        frequencies = tuple(step * 100 for step in steps)
    elif len(cf_list) == _CF_LIST_BYTES and cf_list[15] == 1:
        masks = tuple(int.from_bytes(cf_list[at : at + 2], "little") for at in range(0, 14, 2))
    return JoinGrant(
        join_nonce=int.from_bytes(plain[:3], "little"),
        net_id=int.from_bytes(plain[3:6], "little"),
        dev_addr=int.from_bytes(plain[6:10], "little"),
        opt_neg=bool(settings & 0x80),
        rx1_dr_offset=settings >> 4 & 0x07,
        rx2_data_rate=settings & 0x0F,
        delay_s=max(plain[11] & 0x0F, 1),
        frequencies_hz=frequencies,
        ch_masks=masks,
    )
