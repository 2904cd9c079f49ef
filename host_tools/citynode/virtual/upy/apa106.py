"""`apa106`: strips of APA106 LEDs, which are WS2812 with red before green."""

from neopixel import NeoPixel


class APA106(NeoPixel):
    """`n` LEDs in a row."""

    ORDER = (0, 1, 2, 3)
