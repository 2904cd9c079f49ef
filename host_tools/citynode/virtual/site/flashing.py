"""Flash contents of the boards of a site, as `citynode flash` would leave them."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import cbor2

from citynode import resources
from citynode.bench.contents import CONFIG, Order
from citynode.boards import Board, load_board
from citynode.identity import NAMESPACE, Identity
from citynode.image import plan as planning
from citynode.profiles import LorawanUplink, Profile, check_fits, load_profile
from citynode.virtual.rack import write_image
from citynode.virtual.soc import standin
from citynode.virtual.soc.chip import CHIPS
from citynode.virtual.soc.flash import NorFlash

_MIB = 1 << 20
BROKER, TIME_SERVER = "broker.bench", "ntp.bench"


@dataclass(frozen=True)
class Kit:
    """What all nodes of a kind have: a board, a MicroPython image, the files of the node."""

    board: Board
    profile: Profile
    image: bytes
    files: Mapping[str, bytes]

    @property
    def digest(self) -> str:
        """A digest of all that its nodes run."""
        whole = hashlib.sha256(self.image)
        for name, data in sorted(self.files.items()):
            whole.update(f"\0{name}\0{len(data)}\0".encode() + data)
        return whole.hexdigest()

    @property
    def lorawan(self) -> bool:
        """Whether its records go over LoRaWAN."""
        return isinstance(self.profile.uplink, LorawanUplink)


@cache
def kit(
    board: str,
    profile: str,
    firmware: Path | None = None,
    interval_s: float | None = None,
    health_s: float | None = None,
) -> Kit:
    """Compile a node; `firmware` is the folder of its sources, the package's own if None.

    A node with WiFi gets the site's servers, and no TLS. Raises CitynodeError.
    """
    spec, what = load_board(board), load_profile(profile)
    check_fits(spec, what)
    chip = CHIPS[spec.chip]
    # The makers' builds are for 4 MiB, whatever the board has.
    image = standin.build(chip, flash_size=min(spec.flash_mib, 4) * _MIB)
    version = planning.take_apart(image, spec.chip).micropython.version
    config = cbor2.loads(Order(spec, what, {}).settings[CONFIG])
    if interval_s is not None:
        config["interval_s"] = round(interval_s)
    if health_s is not None:
        config["health_s"] = round(health_s)
    if not isinstance(what.uplink, LorawanUplink):
        config["ntp"] = TIME_SERVER
        config["uplink"].update(host=BROKER, port=1883, tls=False)
    files = planning.node_files(
        firmware or resources.firmware(),
        version,
        spec.chip,
        {CONFIG: cbor2.dumps(config, canonical=True)},
    )
    return Kit(spec, what, image, files)


def write(home: Path, made: Kit, identity: Identity) -> None:
    """Write a board's flash into its folder; raises CitynodeError."""
    size = made.board.flash_mib * _MIB
    plan = planning.make(
        made.image,
        made.board.chip,
        size,
        nvs_values={NAMESPACE: identity.nvs()},
        files=made.files,
    )
    home.mkdir(parents=True)
    image = home / "image.bin"
    image.write_bytes(plan.merged())
    flash = NorFlash(home / "flash.bin", size)
    try:
        write_image(flash, CHIPS[made.board.chip], image)
    finally:
        flash.close()
        image.unlink()
