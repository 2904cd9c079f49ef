"""What the board and the profile decide about the MAC."""

from node.lorawan.actions import LorawanError


class Settings:
    """Defaults, overridden by keyword.

    `clock_error_ppm`: how much the node's clock may be wrong, 1 % by default; `timing_error_us`:
    how late or early beside that a window opens and the end of transmission is noticed.
    `min_symbols`: preamble symbols the radio needs to notice a frame. `antenna_gain_dbi` with
    cable loss; `max_eirp_dbm` and `min_power_dbm` (at the connector) that the radio can do.
    `repeater`: keep payloads to what a repeater can carry. `spread_ms`: within what time nodes
    that are switched on together begin to join. `certification`: speak TS009; `version`: the
    firmware's four numbers there.
    """

    def __init__(self, **given) -> None:
        self.clock_error_ppm = 10000
        self.timing_error_us = 2000
        self.min_symbols = 6
        self.antenna_gain_dbi = 2
        self.max_eirp_dbm = 16
        self.min_power_dbm = 0
        self.repeater = False
        self.adr = True
        self.spread_ms = 20000
        self.certification = False
        self.version = b"\x00\x01\x00\x00"
        for name, value in given.items():
            if not hasattr(self, name):
                raise LorawanError("option", name)
            setattr(self, name, value)

    def power_dbm(self, power: int) -> int:
        """Return what the radio puts out for the region's TXPower index (RP002: 2 dB steps)."""
        return max(self.min_power_dbm, self.max_eirp_dbm - self.antenna_gain_dbi - 2 * power)

    def can_power(self, power: int) -> bool:
        """Return whether the radio goes down as far as the TXPower index asks."""
        return self.max_eirp_dbm - self.antenna_gain_dbi - 2 * power >= self.min_power_dbm
