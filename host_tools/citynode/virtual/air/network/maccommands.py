"""What the network does about the MAC commands of an uplink (TS001-1.0.4 section 5)."""

import math
from collections.abc import Callable, Iterable

from citynode.phy import mac
from citynode.phy.mac import MacCommand
from citynode.virtual.air import gps
from citynode.virtual.air.network import adr, commands, region
from citynode.virtual.air.network.device import Device, Received, Session

_NS = 1_000_000_000
_LOST = 254


def answers(uplink: Received, end_unix_ns: int) -> list[bytes]:
    """Return the answers to an uplink's requests; its end was at `end_unix_ns`."""
    found = []
    for command in uplink.commands:
        if command.rest:
            continue
        if command.name == "LinkCheckReq":
            best = uplink.copies[0]
            margin = best.snr_db - region.REQUIRED_SNR_DB[best.sf]
            margin_db = min(max(math.floor(margin), 0), _LOST)
            found.append(
                commands.write("LinkCheckAns", margin_db=margin_db, gateways=len(uplink.copies))
            )
        elif command.name == "DeviceTimeReq":
            gps_ns = gps.from_unix(end_unix_ns)
            seconds, rest = divmod(gps_ns, _NS)
            fraction = (rest << 8) // _NS / 256
            found.append(commands.write("DeviceTimeAns", gps_s=seconds, fraction_s=fraction))
    return found


def note_requests(session: Session, requests: Iterable[bytes]) -> None:
    """Remember what was asked, for its answer."""
    for command in mac.read(b"".join(requests), uplink=False):
        answer = command.name.removesuffix("Req") + "Ans"
        if answer in commands.ANSWERS:
            session.asked.setdefault(answer, []).append(command)


def take_answers(
    session: Session, uplink: Received, on_status: Callable[[MacCommand], object]
) -> None:
    """Let what the device has confirmed hold."""
    replies: dict[str, list[MacCommand]] = {}
    for command in uplink.commands:
        if not command.rest and command.name in commands.ANSWERS:
            replies.setdefault(command.name, []).append(command)
    for name, answered in replies.items():
        asked = session.asked.pop(name, [])
        if name == "DevStatusAns":
            on_status(answered[-1])
        elif name == "LinkADRAns":
            _link_adr(session, asked, answered)
        else:
            # What was asked before and never arrived is not answered: the last ones were.
            for request, answer in zip(asked[-len(answered) :], answered, strict=False):
                if all(answer.fields.values()):
                    _apply(session, request)


def _link_adr(session: Session, asked: list[MacCommand], answered: list[MacCommand]) -> None:
    """Requests in a row are one, and answered by as many equal answers (5.3)."""
    session.snrs_db.clear()
    session.adr_rate = None
    if not asked:
        return
    last = asked[-1].fields
    if not answered[-1].fields["power_ack"]:
        session.max_power = max(int(last["tx_power"]) - 1, 0)
    if not answered[-1].fields["data_rate_ack"]:
        session.max_rate = max(int(last["data_rate"]) - 1, 0)
    if all(all(answer.fields.values()) for answer in answered):
        if last["tx_power"] != 15:
            session.power = int(last["tx_power"])
        if last["nb_trans"]:
            session.nb_trans = int(last["nb_trans"])


def _apply(session: Session, request: MacCommand) -> None:
    fields = request.fields
    if request.name == "RXParamSetupReq":
        session.rx1_dr_offset = int(fields["rx1_dr_offset"])
        session.rx2_rate = int(fields["rx2_data_rate"])
        session.rx2_hz = int(fields["frequency_hz"])
    elif request.name == "RXTimingSetupReq":
        session.rx1_delay_s = int(fields["delay_s"])
    elif request.name == "NewChannelReq":
        channel, hz = int(fields["channel"]), int(fields["frequency_hz"])
        session.rx1_hz.pop(channel, None)
        if hz:
            session.channels_hz[channel] = hz
        else:
            session.channels_hz.pop(channel, None)
    elif request.name == "DlChannelReq":
        session.rx1_hz[int(fields["channel"])] = int(fields["frequency_hz"])


def adaptation(device: Device, session: Session, uplink: Received) -> bytes:
    """Return the LinkADRReq that is due, or nothing."""
    if not device.profile.adr or not uplink.adr:
        return b""
    if session.adr_rate is None and len(session.snrs_db) < adr.SAMPLES:
        return b""
    rate, power = adr.adapt(
        session.snrs_db, uplink.rate, session.power, session.max_rate, session.max_power
    )
    nb_trans = device.profile.nb_trans
    if (rate, power, nb_trans) == (uplink.rate, session.power, session.nb_trans):
        session.adr_rate = None
        return b""
    session.adr_rate = rate
    # A request without an answer may not have arrived: this one takes its place.
    session.asked.pop("LinkADRAns", None)
    return commands.write(
        "LinkADRReq",
        data_rate=rate,
        tx_power=power,
        ch_mask=session.channel_mask,
        nb_trans=nb_trans,
    )
