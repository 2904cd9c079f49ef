"""What the host says about the board; `_start` fills it in."""

version = built = machine = ""
mpy = 0
