"""TOML files into checked models: what is wrong is one line that names the file and the key."""

import os
import tomllib
from difflib import get_close_matches
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from citynode.errors import CitynodeError

_MAX_BYTES = 1 << 20


class Table(BaseModel):
    """A table of a TOML file: read-only, no unknown key, no silent conversion."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, hide_input_in_errors=True)


M = TypeVar("M", bound=BaseModel)


def load(path: Path, model: type[M], **facts: object) -> M:
    """Read a TOML file as `model`; `facts` are keys that the file itself does not have.

    Raises CitynodeError that names file, key and what is expected; it never repeats a value.
    """
    return check(path, read(path), model, **facts)


def read(path: Path) -> dict[str, object]:
    """Read a TOML file; raises CitynodeError (cannot be read, too large, invalid)."""
    try:
        with path.open("rb") as file:
            raw = file.read(_MAX_BYTES + 1)
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else "unreadable"
        raise CitynodeError(f"cannot read {path}: {reason}", "give a file that exists") from None
    if len(raw) > _MAX_BYTES:
        raise CitynodeError(f"{path} is larger than 1 MiB", "give a TOML file")
    try:
        return tomllib.loads(raw.decode("utf-8"))
    except UnicodeDecodeError:
        raise CitynodeError(f"{path} is not UTF-8 text", "give a TOML file") from None
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        where = _position(error)
        raise CitynodeError(f"{path} is not valid TOML{where}", "correct that line") from None


def check(where: Path | str, data: dict[str, object], model: type[M], **facts: object) -> M:
    """Make a `model` of the data of a file; raises CitynodeError that names the first bad key."""
    try:
        return model.model_validate({**data, **facts})
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False, include_context=False)
        # A key that is missing may be there under a wrong name.
        found.sort(key=lambda each: each["type"] != "extra_forbidden")
        first, *others = found
        key = ".".join(str(part) for part in first["loc"]) or "file"
        more = f" (and {len(others)} more)" if others else ""
        if first["type"] == "extra_forbidden":
            known = _known_keys(model, first["loc"])
            near = get_close_matches(str(first["loc"][-1]), known, 1)
            raise CitynodeError(
                f"{where}: unknown key {key}{more}",
                f"did you mean {near[0]}? known are {', '.join(known)}"
                if near
                else f"remove it; known are {', '.join(known)}",
            ) from None
        text = first["msg"].removeprefix("Value error, ")
        text = text[:1].lower() + text[1:]
        raise CitynodeError(f"{where}: {key}: {text}{more}", "correct the file") from None


def _position(error: Exception) -> str:
    """Take "(at line 3, column 4)" from an error's text; the text itself may quote the file."""
    _, at, rest = str(error).rpartition("(at ")
    return f" at {rest.rstrip(')')}" if at else ""


def _known_keys(model: type[BaseModel], place: tuple[int | str, ...]) -> list[str]:
    current: object = model
    for part in place[:-1]:
        if isinstance(part, int) or not _is_model(current):
            continue
        field = current.model_fields.get(part)  # type: ignore[attr-defined]
        current = _model_in(field.annotation) if field else None
    if not _is_model(current):
        return ["those of the examples"]
    return [
        field.alias or name
        for name, field in current.model_fields.items()  # type: ignore[attr-defined]
        if field.repr
    ]


def _is_model(thing: object) -> bool:
    return isinstance(thing, type) and issubclass(thing, BaseModel)


def _model_in(annotation: object) -> object:
    """Find the model in annotations such as `Battery | None` and `tuple[Sensor, ...]`."""
    if _is_model(annotation):
        return annotation
    for inner in getattr(annotation, "__args__", ()):
        if found := _model_in(inner):
            return found
    return None
