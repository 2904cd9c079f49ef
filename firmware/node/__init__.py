"""The firmware of a citynode."""

VERSION = "0.1.0"
