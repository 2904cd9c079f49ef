"""The share of downlinks heard against the node's clock error: the tables of docs/lorawan.md.

The tables are of CITYNODE_BENCHMARK=full; in the suite each figure is of fewer downlinks.
"""

import os
import sys
from itertools import product
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1] / "lorawan_runs"))

from run_site import SX1262, SX1276
from run_timing import Case, hear

ERRORS_PPM = (0, 1000, 2500, 5000, 10_000, 15_000, 20_000)
CONFIGURED_PPM = (10_000, 20_000)
# Spreading factor, window, and RX1's delay in seconds.
COLUMNS = [(sf, *when) for sf in (7, 12) for when in ((1, 1), (2, 1), (1, 5), (2, 5), (1, 15))]
TRIES = (
    3 if os.environ.get("CITYNODE_BENCHMARK") == "full" else 1
)  # too fast, and as many too slow, each at another moment of the board's loops


def share(folder, kind):
    """Return what of the downlinks was heard, by configured error, error and column."""
    keys = list(product(CONFIGURED_PPM, ERRORS_PPM, COLUMNS))
    cases = [
        Case(sf, window, delay_s, sign * error, configured)
        for configured, error, (sf, window, delay_s) in keys
        for sign in (-1, 1)
        for _ in range(TRIES)
    ]
    heard = iter(hear(folder, kind, cases))
    return {key: sum(next(heard) for _ in range(2 * TRIES)) / (2 * TRIES) for key in keys}


@pytest.mark.slow
def test_share_of_downlinks_heard(tmp_path):
    shares = [share(tmp_path / kind, kind) for kind in (SX1276, SX1262)]
    head = [f"SF{sf}, RX{window} {delay + window - 1} s" for sf, window, delay in COLUMNS]
    for configured in CONFIGURED_PPM:
        print(f"\n`clock_error_ppm = {configured}`\n")
        print("| clock error | " + " | ".join(head) + " |")
        print("|---|" + "---|" * len(head))
        for error in ERRORS_PPM:
            row = [f"{error / 10_000:g} %"]
            for column in COLUMNS:
                found = [f"{100 * each[configured, error, column]:.0f}" for each in shares]
                row.append(found[0] if len(set(found)) == 1 else " / ".join(found))
            print("| " + " | ".join(row) + " |")
    inside = [each[key] for each in shares for key in each if key[1] <= key[0] and key[2][2] < 15]
    assert set(inside) == {1.0}
