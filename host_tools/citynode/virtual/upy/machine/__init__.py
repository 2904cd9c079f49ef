"""`machine` of the ESP32 port."""

import _facts

from machine._analog import ADC as ADC
from machine._analog import ADCBlock as ADCBlock
from machine._counter import units as _units
from machine._i2c import I2C as I2C
from machine._i2c import SoftI2C as SoftI2C
from machine._pin import Pin as Pin
from machine._pin import PinBase as PinBase
from machine._pin import Signal as Signal
from machine._pin import dht_readinto as dht_readinto
from machine._pwm import PWM as PWM
from machine._spi import SPI as SPI
from machine._spi import SoftSPI as SoftSPI
from machine._system import *  # noqa: F403
from machine._timer import WDT as WDT
from machine._timer import Timer as Timer
from machine._uart import UART as UART

if _facts.chip == "esp32":
    from machine._analog import DAC as DAC

if _facts.chip != "esp32c3":
    from machine._touch import TouchPad as TouchPad

if _units and _facts.release >= (1, 26):
    from machine._counter import Counter as Counter
