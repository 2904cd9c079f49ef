"""`neopixel`: strips of WS2812 LEDs (their datasheet)."""

from machine import bitstream


class NeoPixel:
    """`n` LEDs in a row; colours go out when `write` is called."""

    ORDER = (1, 0, 2, 3)  # where red, green, blue, white are on the line

    def __init__(self, pin, n, bpp=3, timing=1):
        self.pin = pin
        self.n = n
        self.bpp = bpp
        self.buf = bytearray(n * bpp)
        self.pin.init(pin.OUT)
        # ns: high and low of a 0, high and low of a 1.
        slow = (800, 1700, 1600, 900)
        self.timing = timing if isinstance(timing, tuple) else (400, 850, 800, 450)
        if not isinstance(timing, tuple) and not timing:
            self.timing = slow

    def __len__(self):
        return self.n

    def __setitem__(self, index, colour):
        for part in range(self.bpp):
            self.buf[index * self.bpp + self.ORDER[part]] = colour[part]

    def __getitem__(self, index):
        return tuple([self.buf[index * self.bpp + self.ORDER[part]] for part in range(self.bpp)])

    def fill(self, colour):
        for index in range(self.n):
            self[index] = colour

    def write(self):
        bitstream(self.pin, 0, self.timing, self.buf)
