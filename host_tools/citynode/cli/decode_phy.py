"""LoRaWAN messages in words, for `citynode decode`."""

from collections.abc import Iterator

from citynode.phy.message import Data, JoinAccept, JoinGrant, JoinRequest
from citynode.phy.reader import Reading


def lines(reading: Reading) -> Iterator[str]:
    """Yield a line with the header, then one for each thing that is in the message."""
    message = reading.message
    words = [message.mtype.label]
    if isinstance(message, JoinRequest):
        words += [
            f"DevEUI {message.dev_eui.hex()}",
            f"JoinEUI {message.join_eui.hex()}",
            f"DevNonce {message.dev_nonce}",
        ]
    elif isinstance(message, Data):
        port = "no port" if message.f_port is None else f"FPort {message.f_port}"
        words += [f"DevAddr {message.dev_addr:08x}", f"FCnt {reading.f_cnt}", port]
        words += [" ".join(message.flags)] if message.flags else []
    elif reading.grant is not None:
        words += _granted(reading.grant)
    words.append(f"MIC {reading.mic.value}")
    if reading.node is not None:
        words.append(reading.node)
    yield ", ".join(words)
    for command in reading.commands:
        yield f"  {command}"
    for record in reading.records:
        yield f"  {record}"
    if isinstance(message, JoinAccept) and reading.grant is None:
        yield f"  sealed {message.sealed.hex()}"
    if isinstance(message, Data) and message.payload and not reading.records:
        if reading.plain is None:
            yield f"  encrypted {message.payload.hex()}"
        elif message.f_port != 0:
            yield f"  payload {reading.plain.hex()}"


def _granted(grant: JoinGrant) -> Iterator[str]:
    yield f"DevAddr {grant.dev_addr:08x}"
    yield f"NetID {grant.net_id:06x}"
    yield f"JoinNonce {grant.join_nonce}"
    yield f"RX1 offset {grant.rx1_dr_offset} after {grant.delay_s} s"
    yield f"RX2 DR{grant.rx2_data_rate}"
    if grant.opt_neg:
        yield "OptNeg"
    if grant.frequencies_hz:
        yield "channels " + " ".join(f"{hz / 1e6:g}" for hz in grant.frequencies_hz if hz) + " MHz"
    if grant.ch_masks:
        yield "masks " + " ".join(f"{mask:04x}" for mask in grant.ch_masks)
