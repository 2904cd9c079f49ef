"""What is to be in a board's flash."""

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field

from citynode.boards import Board
from citynode.errors import CitynodeError
from citynode.identity import NAMESPACE, Identity, Store
from citynode.image import nvs
from citynode.nodefiles import config_cbor
from citynode.profiles import LorawanUplink, Profile

CONFIG, CA, SLOT = "/config.cbor", "/ca.der", "/slot"


@dataclass(frozen=True)
class Order:
    """What the boards of a job are to become.

    `given` are settings of the identity (secrets: not in its repr), `ca` is a DER certificate.
    """

    board: Board
    profile: Profile
    given: Mapping[str, str | bytes] = field(repr=False)
    ca: bytes | None = None
    renew_identity: bool = False

    @property
    def config(self) -> bytes:
        """The node's configuration file."""
        return config_cbor(self.board, self.profile)

    @property
    def settings(self) -> dict[str, bytes]:
        """The files that make a node of this site out of any node."""
        files = {CONFIG: self.config}
        if self.ca is not None:
            files[CA] = self.ca
        return files

    @property
    def config_crc(self) -> int:
        """CRC-32 of the configuration, as the node reports it."""
        return zlib.crc32(self.config)

    def identity(self, store: Store, mac: str, *, keep: bool = True) -> Identity:
        """Return the identity of the board with this MAC, complete enough for the profile.

        Kept in the store unless `keep` is off. Raises CitynodeError.
        """
        known = store.find(mac)
        if isinstance(self.profile.uplink, LorawanUplink):
            pass  # what it needs is made where it is not given
        elif "wifi_ssid" not in self.given and (known is None or known.wifi_ssid is None):
            raise CitynodeError(
                f"no WiFi network is known for the board {mac}",
                "put wifi_ssid and wifi_psk into a file for --identity, or set "
                "CITYNODE_WIFI_SSID and CITYNODE_WIFI_PSK",
            )
        return store.issue(
            mac, self.board, self.profile.site, self.given, renew=self.renew_identity, keep=keep
        )


def same_identity(partition: bytes, identity: Identity) -> bool:
    """Tell whether an NVS partition's bytes, which may be anything, hold this identity."""
    try:
        found = nvs.read_partition(partition)
    except nvs.NvsError:
        return False
    return found.get(NAMESPACE) == identity.nvs()


def node_id_in(partition: bytes) -> str | None:
    """Return the node id that an NVS partition's bytes, which may be anything, hold."""
    try:
        found = nvs.read_partition(partition).get(NAMESPACE, {})
    except nvs.NvsError:
        return None
    _, value = found.get("node_id", (None, b""))
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else ""
    return "".join(each if each.isprintable() else "?" for each in text)[:32] or None
