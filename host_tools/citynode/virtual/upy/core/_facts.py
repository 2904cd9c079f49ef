"""What the host says about the board; `_start` fills it in."""

version = built = machine = build = ""
release = (0, 0, 0)  # of the version
mpy = 0
chip = ""
soft_reset = False  # whether `machine.soft_reset` has raised the SystemExit on its way
