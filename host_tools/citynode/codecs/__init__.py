"""What decodes frames elsewhere, made from the schema: `python -m citynode.codecs` writes it."""

from pathlib import Path

from citynode import resources
from citynode.codecs import cddl, javascript

UPLINK = "citynode-uplink.js"
CDDL = "citynode-frames.cddl"


def folder() -> Path:
    """Return the folder of the files that are checked in."""
    return resources.provisioning() / "codecs"


def render() -> dict[str, str]:
    """Return the text of each file by its name."""
    return {UPLINK: javascript.render(), CDDL: cddl.render()}
