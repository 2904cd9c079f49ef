"""Benewake TF-Luna (product manual A05): 0 cm where the strength is below 100."""

from citynode.virtual.chips.benewake import TFLidar


class TFLuna(TFLidar):
    """The lidar."""

    version = (1, 3, 3)

    def none(self, strength: int) -> int:
        """Return 0."""
        return 0
