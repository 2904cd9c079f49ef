"""What decodes frames elsewhere, made from the schema: `python -m citynode.codecs` writes it."""

from pathlib import Path

from citynode import resources
from citynode.codecs import cddl, javascript, reference

UPLINK = "citynode-uplink.js"
CDDL = "citynode-frames.cddl"


def folder() -> Path:
    """Return the folder of the files that are checked in."""
    return resources.provisioning() / "codecs"


def render() -> dict[str, str]:
    """Return the text of each file by its name."""
    return {UPLINK: javascript.render(), CDDL: cddl.render()}


def reference_page() -> tuple[Path, str]:
    """Return where the page of all record types is in a checkout, and its text."""
    return folder().parents[1] / "docs" / "records.md", reference.render()
