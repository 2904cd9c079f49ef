"""`machine` of the ESP32 port."""

from machine._analog import ADC as ADC
from machine._analog import PWM as PWM
from machine._counter import Counter as Counter
from machine._counter import units as _units
from machine._i2c import I2C as I2C
from machine._i2c import SoftI2C as SoftI2C
from machine._pin import Pin as Pin
from machine._pin import Signal as Signal
from machine._serial import SPI as SPI
from machine._serial import UART as UART
from machine._serial import SoftSPI as SoftSPI
from machine._system import *  # noqa: F403
from machine._timer import WDT as WDT
from machine._timer import Timer as Timer

if not _units:
    del Counter  # a chip without PCNT
