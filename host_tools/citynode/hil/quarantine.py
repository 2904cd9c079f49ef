"""Tests in quarantine: they run, and their failure is told and fails nobody."""

import datetime
import re
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated

from pydantic import Field, model_validator

from citynode.tomlfile import Table, load

_GROUP = re.compile(r"@[^@\[\]/]+$")  # what pytest-xdist puts behind the name of a test


class Entry(Table):
    """A test that is in quarantine.

    `test` is its id as pytest prints it, where `*` stands for anything; `since` the day it went in.
    """

    test: Annotated[str, Field(min_length=1, max_length=500)]
    reason: Annotated[str, Field(min_length=1, max_length=500)]
    since: datetime.date

    def matches(self, node_id: str) -> bool:
        """Tell whether this is the entry of a test."""
        # Brackets are part of an id, and no set of letters.
        pattern = self.test.replace("[", "[[]")
        return fnmatchcase(plain_id(node_id), pattern)


class Quarantine(Table):
    """The list: a `[[quarantine]]` table for each test."""

    quarantine: tuple[Entry, ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _arrays(cls, data: object) -> object:
        if isinstance(data, dict) and isinstance(data.get("quarantine"), list):
            return {**data, "quarantine": tuple(data["quarantine"])}
        return data

    def entry(self, node_id: str) -> Entry | None:
        """Return the entry of a test."""
        return next((each for each in self.quarantine if each.matches(node_id)), None)


def read(path: Path | None) -> Quarantine:
    """Read the list, an empty one if there is none; raises CitynodeError."""
    return Quarantine() if path is None else load(path, Quarantine)


def plain_id(node_id: str) -> str:
    """Return a test's id without the group that pytest-xdist has put behind it."""
    return _GROUP.sub("", node_id)
