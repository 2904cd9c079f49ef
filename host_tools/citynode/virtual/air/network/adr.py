"""Rate adaptation as Semtech recommends it to networks ("LoRaWAN - simple rate adaptation").

The best signal-to-noise ratio of the last twenty uplinks, less what the data rate needs, less a
margin for fading, is spent in steps of 3 dB: first on the data rate, then on the power. Where it is
negative, only power is given back; a node lowers its data rate by itself when it hears nothing.
"""

from collections.abc import Iterable

from citynode.virtual.air.network.region import RATES, REQUIRED_SNR_DB

SAMPLES = 20
MARGIN_DB = 10.0
_STEP_DB = 3.0


def adapt(
    snrs_db: Iterable[float], rate: int, power: int, max_rate: int, max_power: int
) -> tuple[int, int]:
    """Return the data rate and TXPower index that a node should have; both may be as they are.

    A rate that is above `max_rate` already stays, and so does a power.
    """
    headroom = max(snrs_db) - REQUIRED_SNR_DB[RATES[rate][0]] - MARGIN_DB
    steps = int(headroom / _STEP_DB)
    while steps > 0 and rate < max_rate:
        rate, steps = rate + 1, steps - 1
    while steps > 0 and power < max_power:
        power, steps = power + 1, steps - 1
    return rate, max(power + min(steps, 0), 0)
