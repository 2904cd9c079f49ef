import sys
from pathlib import Path

# The firmware's MAC as a station of the air, and the time that moves it.
sys.path.append(str(Path(__file__).parents[1] / "virtual"))
