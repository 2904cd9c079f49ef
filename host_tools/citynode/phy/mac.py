"""MAC commands of LoRaWAN 1.0.4, up and down, as a table of bit fields."""

from collections.abc import Iterator
from dataclasses import dataclass, field

Value = bool | int | float


@dataclass(frozen=True)
class MacCommand:
    """One command; `rest` holds what could not be read: it and all that follows it."""

    cid: int
    name: str
    fields: dict[str, Value] = field(default_factory=dict)
    rest: bytes = b""

    def to_json(self) -> dict[str, object]:
        """Return name, identifier and fields."""
        told: dict[str, object] = {"name": self.name, "cid": self.cid, **self.fields}
        return {**told, "rest": self.rest.hex()} if self.rest else told

    def __str__(self) -> str:
        words = [_word(name, value) for name, value in self.fields.items()]
        unread = [f"not read: {self.rest.hex()}"] if self.rest else []
        return " ".join([self.name, *words, *unread])


def _word(name: str, value: Value) -> str:
    if isinstance(value, bool):
        return name if value else f"!{name}"
    return f"{name}={value:#06x}" if name == "ch_mask" else f"{name}={value}"


# A field is (name, first bit, bits, form) of the payload as a little-endian number. Forms: "u"
# unsigned, "s" signed, "?" a flag, "hz" in steps of 100 Hz, "/256" a fraction, "1+" where 0 is 1.
Row = tuple[str, int, int, str]

_FREQUENCY = "frequency_hz"


def _flags(*names: str) -> tuple[Row, ...]:
    return tuple((name, bit, 1, "?") for bit, name in enumerate(names))


def _frequency(first: int) -> Row:
    return (_FREQUENCY, first, 24, "hz")


# (CID, uplink): name, payload size, fields. TS001-1.0.4 section 5, class B from section 12.
COMMANDS: dict[tuple[int, bool], tuple[str, int, tuple[Row, ...]]] = {
    (0x02, True): ("LinkCheckReq", 0, ()),
    (0x02, False): ("LinkCheckAns", 2, (("margin_db", 0, 8, "u"), ("gateways", 8, 8, "u"))),
    (0x03, False): (
        "LinkADRReq",
        4,
        (
            ("data_rate", 4, 4, "u"),
            ("tx_power", 0, 4, "u"),
            ("ch_mask", 8, 16, "u"),
            ("ch_mask_cntl", 28, 3, "u"),
            ("nb_trans", 24, 4, "u"),
        ),
    ),
    (0x03, True): ("LinkADRAns", 1, _flags("channel_mask_ack", "data_rate_ack", "power_ack")),
    (0x04, False): ("DutyCycleReq", 1, (("max_duty_cycle", 0, 4, "u"),)),
    (0x04, True): ("DutyCycleAns", 0, ()),
    (0x05, False): (
        "RXParamSetupReq",
        4,
        (("rx1_dr_offset", 4, 3, "u"), ("rx2_data_rate", 0, 4, "u"), _frequency(8)),
    ),
    (0x05, True): (
        "RXParamSetupAns",
        1,
        _flags("channel_ack", "rx2_data_rate_ack", "rx1_dr_offset_ack"),
    ),
    (0x06, False): ("DevStatusReq", 0, ()),
    (0x06, True): ("DevStatusAns", 2, (("battery", 0, 8, "u"), ("margin_db", 8, 6, "s"))),
    (0x07, False): (
        "NewChannelReq",
        5,
        (
            ("channel", 0, 8, "u"),
            _frequency(8),
            ("max_data_rate", 36, 4, "u"),
            ("min_data_rate", 32, 4, "u"),
        ),
    ),
    (0x07, True): ("NewChannelAns", 1, _flags("channel_frequency_ok", "data_rate_range_ok")),
    (0x08, False): ("RXTimingSetupReq", 1, (("delay_s", 0, 4, "1+"),)),
    (0x08, True): ("RXTimingSetupAns", 0, ()),
    (0x09, False): (
        "TXParamSetupReq",
        1,
        (
            ("downlink_dwell_time", 5, 1, "?"),
            ("uplink_dwell_time", 4, 1, "?"),
            ("max_eirp", 0, 4, "u"),
        ),
    ),
    (0x09, True): ("TXParamSetupAns", 0, ()),
    (0x0A, False): ("DlChannelReq", 4, (("channel", 0, 8, "u"), _frequency(8))),
    (0x0A, True): ("DlChannelAns", 1, _flags("channel_frequency_ok", "uplink_frequency_exists")),
    (0x0D, True): ("DeviceTimeReq", 0, ()),
    (0x0D, False): ("DeviceTimeAns", 5, (("gps_s", 0, 32, "u"), ("fraction_s", 32, 8, "/256"))),
    (0x10, True): ("PingSlotInfoReq", 1, (("periodicity", 0, 3, "u"),)),
    (0x10, False): ("PingSlotInfoAns", 0, ()),
    (0x11, False): ("PingSlotChannelReq", 4, (_frequency(0), ("data_rate", 24, 4, "u"))),
    (0x11, True): ("PingSlotChannelAns", 1, _flags("channel_frequency_ok", "data_rate_ok")),
    (0x12, True): ("BeaconTimingReq", 0, ()),
    (0x12, False): ("BeaconTimingAns", 3, (("delay_30ms", 0, 16, "u"), ("channel", 16, 8, "u"))),
    (0x13, False): ("BeaconFreqReq", 3, (_frequency(0),)),
    (0x13, True): ("BeaconFreqAns", 1, _flags("beacon_frequency_ok")),
}


def read(data: bytes, uplink: bool) -> Iterator[MacCommand]:
    """Yield the commands; an unknown or cut one is the last, as a node stops there too."""
    pos = 0
    while pos < len(data):
        cid = data[pos]
        name, size, rows = COMMANDS.get((cid, uplink), ("unknown", -1, ()))
        payload = data[pos + 1 : pos + 1 + max(size, 0)]
        if len(payload) != size:
            yield MacCommand(cid, name, rest=data[pos:])
            return
        bits = int.from_bytes(payload, "little")
        yield MacCommand(cid, name, {row[0]: _value(bits, row) for row in rows})
        pos += 1 + size


def _value(bits: int, row: Row) -> Value:
    _, first, size, form = row
    number = bits >> first & (1 << size) - 1
    if form == "?":
        return bool(number)
    if form == "hz":
        return number * 100
    if form == "/256":
        return number / 256
    if form == "1+":
        return max(number, 1)
    if form == "s" and number >> size - 1:
        return number - (1 << size)
    return number
