"""The ADC with the voltages on its pins, the DAC and the PWM outputs."""

from collections.abc import Callable

from citynode.virtual.soc.peripherals.pins import OUT, Host, Pins
from citynode.virtual.soc.rpc import HardwareError, Value

ETIMEDOUT = 116
_STEPS = 4095

# Pins of the first and of the second converter (datasheets, pin tables).
_ADC_PINS = {
    "esp32": ((36, 37, 38, 39, 32, 33, 34, 35), (4, 0, 2, 15, 13, 12, 14, 27, 25, 26)),
    "esp32s3": (tuple(range(1, 11)), tuple(range(11, 21))),
    "esp32c3": (tuple(range(5)), (5,)),
}
# Full scale (V) by attenuation (0, 2.5, 6, 11 dB).
_FULL_SCALE_V = {
    "esp32": (1.1, 1.46, 2.2, 3.55),
    "esp32s3": (0.95, 1.25, 1.75, 3.1),
    "esp32c3": (0.75, 1.05, 1.3, 2.5),
}


class Adc:
    """`machine.ADC`; `radio_on` tells whether the radio uses the ESP32's second converter."""

    def __init__(self, pins: Pins, radio_on: Callable[[], bool] = lambda: False) -> None:
        self._pins = pins
        self._radio_on = radio_on
        self._chip_id = pins.chip.id
        self._voltages: dict[int, Callable[[], float]] = {}

    def connect(self, pin: int, volts: Callable[[], float]) -> None:
        """Put a voltage on a pin: the function is asked at each conversion."""
        self._voltages[pin] = volts

    def attach(self, app: Host) -> None:
        """Answer the calls of `machine.ADC`."""
        app.expose("adc.pins", self._list)
        app.expose("adc.read", self._read)
        app.expose("adc.read_uv", self._read_uv)
        app.expose("dac.write", self._write)

    def reset(self) -> None:
        """Nothing stays: the voltages are the world's."""

    def _list(self) -> Value:
        return _ADC_PINS[self._chip_id]

    def _write(self, pin: int, value: int) -> None:
        """Take the ESP32's voltage outputs for what a slow look sees of them."""
        self._pins.claim(pin, OUT, latch=int(value >= 1 << 7))

    def _read(self, pin: int, attenuation: int) -> int:
        """Convert to 12 bits; raises OSError where the radio has the converter."""
        if self._chip_id == "esp32" and pin in _ADC_PINS["esp32"][1] and self._radio_on():
            raise OSError(ETIMEDOUT, "the radio uses this converter")
        source = self._voltages.get(pin)
        volts = 3.3 * self._pins.level(pin) if source is None else source()
        share = volts / _FULL_SCALE_V[self._chip_id][attenuation]
        return min(_STEPS, max(0, round(share * _STEPS)))

    def _read_uv(self, pin: int, attenuation: int) -> int:
        """Convert to µV as the calibration has it: in whole mV."""
        raw = self._read(pin, attenuation)
        return round(1000 * raw * _FULL_SCALE_V[self._chip_id][attenuation] / _STEPS) * 1000


class Pwm:
    """`machine.PWM`; `outputs` has the frequency (Hz) and duty (0 to 65535) of each pin."""

    def __init__(self, pins: Pins) -> None:
        self.outputs: dict[int, tuple[int, int]] = {}
        self._pins = pins

    def attach(self, app: Host) -> None:
        """Answer the calls of `machine.PWM`; a soft reset stops the outputs."""
        app.at_soft_reset(self.reset)
        app.expose("pwm.claim", self._claim)
        app.expose("pwm.set", self._set)
        app.expose("pwm.off", self._off)

    def reset(self) -> None:
        """Stop all outputs."""
        self.outputs.clear()

    def _claim(self, pin: int) -> None:
        if pin in self._pins.chip.input_only:
            raise HardwareError("ValueError", f"PWM not supported on Pin({pin})")

    def _set(self, pin: int, freq: int, duty: int) -> None:
        self.outputs[pin] = freq, duty
        # Seen slowly, an output is what it is most of the time.
        self._pins.claim(pin, OUT, latch=int(duty >= 1 << 15))

    def _off(self, pin: int) -> None:
        if self.outputs.pop(pin, None) is not None:
            self._pins.claim(pin, OUT, latch=0)
