"""Characters on an asynchronous serial line: what arrives when the two ends disagree.

The waveform of the sender (start bit, data bits from the lowest, parity, stop bits) is sampled in
the middle of the bits that the receiver expects, as a UART does. Ends that agree are the rule and
cost nothing.
"""

from citynode.virtual.soc.rfc2217 import EVEN, MARK, NO_PARITY, ODD, SPACE, Settings

_TOLERANCE = 0.03  # of the baud rate: half a bit in ten bits, less the edges' share


def bits_per_character(settings: Settings) -> float:
    """Return the length of a character with its start and stop bits, in bit times."""
    stop = 1.5 if settings.stop_bits == 3 else settings.stop_bits
    return 1 + settings.data_bits + (settings.parity != NO_PARITY) + stop


def agree(one: Settings, other: Settings) -> bool:
    """Tell whether two ends understand each other (stop bits may differ)."""
    return (
        abs(one.baud - other.baud) <= _TOLERANCE * max(one.baud, other.baud)
        and one.data_bits == other.data_bits
        and one.parity == other.parity
    )


def heard(data: bytes, sent: Settings, receiver: Settings) -> tuple[bytes, bool]:
    """Return what a receiver makes of `data`, and whether it saw a framing error."""
    if agree(sent, receiver):
        return data, False
    wave = _waveform(data, sent)
    step = sent.baud / receiver.baud  # sender's bits per bit of the receiver
    length = 1 + receiver.data_bits + (receiver.parity != NO_PARITY)
    result = bytearray()
    broken = False
    at = wave.find(0)
    while at >= 0:
        if _level(wave, at + step / 2):
            at = wave.find(0, int(at + step / 2) + 1)  # too short for a start bit
            continue
        value = 0
        for bit in range(receiver.data_bits):
            value |= _level(wave, at + (bit + 1.5) * step) << bit
        result.append(value)
        stop = int(at + (length + 0.5) * step)
        if not _level(wave, stop):
            broken = True
            stop = wave.find(1, stop)
            if stop < 0:
                break
        at = wave.find(0, stop)
    return bytes(result), broken


def _level(wave: bytearray, at: float) -> int:
    index = int(at)
    return wave[index] if index < len(wave) else 1


def _waveform(data: bytes, sent: Settings) -> bytearray:
    wave = bytearray()
    stop = b"\1" * (2 if sent.stop_bits > 1 else 1)
    for byte in data:
        bits = [byte >> bit & 1 for bit in range(sent.data_bits)]
        wave.append(0)
        wave += bytes(bits)
        if sent.parity != NO_PARITY:
            ones = sum(bits) & 1
            wave.append({ODD: 1 - ones, EVEN: ones, MARK: 1, SPACE: 0}[sent.parity])
        wave += stop
    return wave
