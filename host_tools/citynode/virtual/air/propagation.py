"""What becomes of a signal on its way: path loss, noise, and what other signals do to it."""

import math
import random
from collections.abc import Callable

from citynode.virtual.air.frames import Modulation

# Log-distance path loss at 868 MHz, as measured in a city from a car (Petäjäjärvi et al., "On the
# coverage of LPWANs", ITST 2015): 128.95 dB at 1 km, exponent 2.32.
_LOSS_AT_1_KM_DB = 128.95
_EXPONENT = 2.32
_NEAREST_M = 1.0
DEFAULT_DISTANCE_M = 100.0

_THERMAL_DBM_HZ = -174.0
# The demodulator's least signal-to-noise ratio (SX1276 datasheet rev. 7, table 13). With the noise
# figure of the receiver it gives the datasheets' sensitivities within about a decibel.
_SNR_LIMIT_DB = {5: -2.5, 6: -5.0, 7: -7.5, 8: -10.0, 9: -12.5, 10: -15.0, 11: -17.5, 12: -20.0}
# The LoRa demodulators do not tell ratios apart that are better than this.
BEST_SNR_DB = 12.0

# A frame survives another of its own spreading factor that is this much weaker: capture.
CAPTURE_DB = 6.0
# The signal-to-interference ratio (dB) down to which a frame of one spreading factor (rows, SF7 to
# SF12) survives one of another (columns). Croce et al., "Impact of LoRa imperfect orthogonality",
# IEEE Communications Letters 22(4), 2018, table I.
_REJECTION_DB = (
    (CAPTURE_DB, -8, -9, -9, -9, -9),
    (-11, CAPTURE_DB, -11, -12, -13, -13),
    (-15, -13, CAPTURE_DB, -13, -14, -15),
    (-19, -18, -17, CAPTURE_DB, -17, -18),
    (-22, -22, -21, -20, CAPTURE_DB, -20),
    (-25, -25, -25, -24, -23, CAPTURE_DB),
)


def noise_floor_dbm(bw_hz: int, noise_figure_db: float) -> float:
    """Return the noise that a receiver sees in its bandwidth."""
    return _THERMAL_DBM_HZ + 10 * math.log10(bw_hz) + noise_figure_db


def sensitivity_dbm(sf: int, bw_hz: int, noise_figure_db: float) -> float:
    """Return the weakest signal that a receiver understands."""
    return noise_floor_dbm(bw_hz, noise_figure_db) + _SNR_LIMIT_DB[sf]


def rejection_db(wanted: Modulation, other: Modulation) -> float | None:
    """Return the signal-to-interference ratio that `wanted` needs over `other`.

    None: they never meet. Chirps of the other direction and of another bandwidth are taken for
    those of another spreading factor: the nearest one, as nobody has measured them.
    """
    if abs(wanted.freq_hz - other.freq_hz) >= (wanted.bw_hz + other.bw_hz) / 2:
        return None
    row = max(0, wanted.sf - 7)
    column = max(0, other.sf - 7)
    like = wanted.bw_hz == other.bw_hz and wanted.iq_inverted == other.iq_inverted
    if row == column and not like:
        column += -1 if column else 1
    return _REJECTION_DB[row][column]


class Links:
    """The path loss between stations by their names; it is the same in both directions.

    Stations stand `DEFAULT_DISTANCE_M` apart until they are placed. `shadowing_db` is the standard
    deviation of what houses add to each path, drawn once from the stream that `rng(name)` gives.
    """

    def __init__(self, rng: Callable[[str], random.Random], shadowing_db: float = 0.0) -> None:
        self._rng = rng
        self._shadowing_db = shadowing_db
        self._places: dict[str, tuple[float, float]] = {}
        self._given: dict[tuple[str, str], float] = {}
        self._known: dict[tuple[str, str], float] = {}

    def place(self, name: str, x_m: float, y_m: float) -> None:
        """Put a station somewhere (metres)."""
        self._places[name] = x_m, y_m
        self._known.clear()

    def attenuate(self, a: str, b: str, loss_db: float) -> None:
        """Set the loss between two stations, whatever their distance."""
        self._given[_pair(a, b)] = loss_db
        self._known.clear()

    def loss_db(self, a: str, b: str) -> float:
        """Return the loss between two stations."""
        pair = _pair(a, b)
        loss = self._known.get(pair)
        if loss is None:
            loss = self._known[pair] = self._given.get(pair, self._modelled(pair))
        return loss

    def _modelled(self, pair: tuple[str, str]) -> float:
        a, b = (self._places.get(name) for name in pair)
        distance = DEFAULT_DISTANCE_M if a is None or b is None else math.dist(a, b)
        loss = _LOSS_AT_1_KM_DB + 10 * _EXPONENT * math.log10(max(distance, _NEAREST_M) / 1000)
        if self._shadowing_db:
            loss += self._rng(f"air {pair[0]} {pair[1]}").gauss(0.0, self._shadowing_db)
        return loss


def _pair(a: str, b: str) -> tuple[str, str]:
    return (a, b) if a < b else (b, a)
