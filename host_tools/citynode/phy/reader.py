"""Reads a stream of PHYPayloads with the keys there are, and learns sessions from its joins."""

from collections import defaultdict, deque
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from itertools import chain

from citynode.frames import Record, decode
from citynode.phy import crypto, mac
from citynode.phy.keys import Device, KeyRing, Session
from citynode.phy.message import (
    Data,
    JoinAccept,
    JoinGrant,
    JoinRequest,
    Message,
    parse,
    parse_grant,
)
from citynode.wire.frame import FrameError

# The upper half of a counter that nobody has told is looked for up to here: 2^24 frames.
_HIGHEST_HALF = 255
# Join-requests that a join-accept may be the answer to: a node asks again before it comes.
_NONCES = 8
_APPLICATION_PORTS = range(1, 224)


class Mic(StrEnum):
    """What is known of a message's integrity code; WRONG: of those of the keys that are known."""

    OK = "ok"
    WRONG = "wrong"
    UNCHECKED = "unchecked"


@dataclass(frozen=True)
class Reading:
    """A message and all that the keys tell of it.

    `f_cnt` has 32 bits when the MIC was verified. `plain` is the decrypted FRMPayload, None without
    its key; `records` are in it when it is a frame of ours, else `frame_error` says why not.
    """

    message: Message
    mic: Mic
    node: str | None = None
    grant: JoinGrant | None = None
    f_cnt: int | None = None
    commands: tuple[mac.MacCommand, ...] = ()
    plain: bytes | None = None
    records: tuple[Record, ...] = ()
    frame_error: str | None = None

    @property
    def problem(self) -> str | None:
        """What is wrong with the message, if anything is."""
        if self.mic is Mic.WRONG:
            return "the MIC is wrong for every key that is known"
        message = self.message
        if isinstance(message, Data) and message.f_opts and message.f_port == 0:
            return "MAC commands both in FOpts and on port 0: a node drops the frame"
        return self.frame_error

    def to_json(self) -> dict[str, object]:
        """Return all of it in what JSON can hold; bytes as hex, EUIs and addresses as printed."""
        message = self.message
        told: dict[str, object] = {
            "phy": message.mtype.name.lower(),
            "mic": self.mic.value,
            "node": self.node,
        }
        if isinstance(message, JoinRequest):
            told["join_eui"] = message.join_eui.hex()
            told["dev_eui"] = message.dev_eui.hex()
            told["dev_nonce"] = message.dev_nonce
        elif isinstance(message, JoinAccept):
            grant = self.grant
            told |= {"sealed": message.sealed.hex()} if grant is None else _grant_json(grant)
        else:
            told |= {
                "dev_addr": f"{message.dev_addr:08x}",
                "f_ctrl": list(message.flags),
                "f_cnt": self.f_cnt,
                "f_port": message.f_port,
                "mac": [command.to_json() for command in self.commands],
                "encrypted": message.payload.hex(),
                "payload": None if self.plain is None else self.plain.hex(),
                "records": [record.to_json() for record in self.records],
            }
        return {**told, "problem": self.problem}


def _grant_json(grant: JoinGrant) -> dict[str, object]:
    told = asdict(grant)
    told |= {"net_id": f"{grant.net_id:06x}", "dev_addr": f"{grant.dev_addr:08x}"}
    return {key: list(value) if isinstance(value, tuple) else value for key, value in told.items()}


@dataclass
class Reader:
    """Reads messages one after the other, in the order they were sent.

    A join-request and the join-accept that answers it give the session of the data that follows.
    """

    ring: KeyRing
    _nonces: defaultdict[Device, deque[int]] = field(
        default_factory=lambda: defaultdict(lambda: deque(maxlen=_NONCES))
    )

    def read(self, raw: bytes) -> Reading:
        """Read one PHYPayload; raises PhyError."""
        message = parse(raw)
        if isinstance(message, JoinRequest):
            return self._join_request(message)
        if isinstance(message, JoinAccept):
            return self._join_accept(message)
        return self._data(message)

    def _join_request(self, message: JoinRequest) -> Reading:
        mic = Mic.UNCHECKED
        for device in self.ring.devices:
            if device.dev_eui not in (None, message.dev_eui):
                continue
            if crypto.join_mic(device.app_key, message.raw[:-4]) == message.raw[-4:]:
                self._nonces[device].append(message.dev_nonce)
                return Reading(message, Mic.OK, device.name)
            mic = Mic.WRONG
        return Reading(message, mic)

    def _join_accept(self, message: JoinAccept) -> Reading:
        mic = Mic.UNCHECKED
        for device in self.ring.devices:
            plain = crypto.open_join_accept(device.app_key, message.sealed)
            body = plain[:-4]
            if crypto.join_mic(device.app_key, message.raw[:1] + body) == plain[-4:]:
                grant = parse_grant(body)
                self._learn(device, grant)
                return Reading(message, Mic.OK, device.name, grant)
            if device.dev_eui is None:
                mic = Mic.WRONG  # of other nodes' keys it need not be
        return Reading(message, mic)

    def _learn(self, device: Device, grant: JoinGrant) -> None:
        """Add a session for each join-request that this may be the answer to."""
        for dev_nonce in self._nonces[device]:
            nonces = grant.join_nonce, grant.net_id, dev_nonce
            keys = crypto.session_keys(device.app_key, *nonces)
            self.ring.sessions.append(Session(device.name, grant.dev_addr, *keys))

    def _data(self, message: Data) -> Reading:
        commands = tuple(mac.read(message.f_opts, message.uplink))
        reading = Reading(message, Mic.UNCHECKED, f_cnt=message.f_cnt, commands=commands)
        unverified: Session | None = None
        for session in reversed(self.ring.sessions):
            if session.dev_addr not in (None, message.dev_addr):
                continue
            if session.nwk_skey is None:
                unverified = unverified or session
                continue
            f_cnt = _verify(message, session.nwk_skey, session.f_cnt_high.get(message.uplink, 0))
            if f_cnt is not None:
                session.f_cnt_high[message.uplink] = f_cnt >> 16
                return _open(replace(reading, mic=Mic.OK, f_cnt=f_cnt), message, session)
            reading = replace(reading, mic=Mic.WRONG)
        if reading.mic is Mic.UNCHECKED and unverified is not None:
            return _open(reading, message, unverified)
        return reading


def _verify(message: Data, nwk_skey: bytes, likely: int) -> int | None:
    """Return the whole counter that the MIC is right for."""
    for high in chain((likely,), range(_HIGHEST_HALF + 1)):
        f_cnt = high << 16 | message.f_cnt
        frame = message.uplink, message.dev_addr, f_cnt, message.raw[:-4]
        if crypto.data_mic(nwk_skey, *frame) == message.raw[-4:]:
            return f_cnt
    return None


def _open(reading: Reading, message: Data, session: Session) -> Reading:
    """Add what is in the FRMPayload, if the session has its key."""
    reading = replace(reading, node=session.name)
    key = session.nwk_skey if message.f_port == 0 else session.app_skey
    if key is None or message.f_port is None:
        return reading
    f_cnt = message.f_cnt if reading.f_cnt is None else reading.f_cnt
    plain = crypto.crypt(key, message.uplink, message.dev_addr, f_cnt, message.payload)
    reading = replace(reading, plain=plain)
    if message.f_port == 0:
        commands = (*reading.commands, *mac.read(plain, message.uplink))
        return replace(reading, commands=commands)
    if not message.uplink or not plain or message.f_port not in _APPLICATION_PORTS:
        return reading
    try:
        return replace(reading, records=tuple(decode(plain)))
    except FrameError as error:
        return replace(reading, frame_error=f"the payload is no frame: {error}")
