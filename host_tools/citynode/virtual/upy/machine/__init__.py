"""`machine` of the ESP32 port."""

from machine._i2c import I2C as I2C
from machine._i2c import SoftI2C as SoftI2C
from machine._pin import Pin as Pin
from machine._pin import Signal as Signal
