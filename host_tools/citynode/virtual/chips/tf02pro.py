"""Benewake TF02-Pro (product manual A02): 4500 cm where the strength is below 60."""

from citynode.virtual.chips.benewake import TFLidar


class TF02Pro(TFLidar):
    """The lidar."""

    version = (8, 0, 2)
    weakest = 60

    def none(self, strength: int) -> int:
        """Return 4500 cm."""
        return 4500
