"""A fleet's file: SQLite, one writer at a time, on the disk when it says so, and never half."""

import contextlib
import os
import sqlite3
import stat
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from secrets import token_hex
from typing import ParamSpec, Self, TypeVar

from citynode.errors import CitynodeError

APPLICATION_ID = 0x43546E66  # "CTnf": what `file` and we know a fleet by
BUSY_S = 20.0

# One script per schema version: a fleet of version n lacks those from n on. An old one is not
# to be changed.
MIGRATIONS = (
    """
    CREATE TABLE fleet (key TEXT PRIMARY KEY, value TEXT NOT NULL);
    CREATE TABLE node (
      id INTEGER PRIMARY KEY,
      node_id TEXT NOT NULL UNIQUE,
      mac TEXT UNIQUE CHECK (length(mac) = 12),
      dev_eui TEXT UNIQUE CHECK (length(dev_eui) = 16),
      join_eui TEXT CHECK (length(join_eui) = 16),
      secrets BLOB,
      board TEXT, batch TEXT, site TEXT,
      lat REAL CHECK (lat BETWEEN -90 AND 90),
      lon REAL CHECK (lon BETWEEN -180 AND 180),
      firmware TEXT, micropython TEXT, notes TEXT,
      extra TEXT NOT NULL DEFAULT '{}',
      status TEXT NOT NULL DEFAULT 'planned'
        CHECK (status IN ('planned', 'open', 'failed', 'ready', 'retired')),
      created TEXT NOT NULL,
      changed TEXT NOT NULL
    );
    CREATE INDEX node_batch ON node (batch);
    CREATE INDEX node_site ON node (site);
    CREATE INDEX node_status ON node (status);
    -- What one node alone may have or have had: DevEUIs, and keys as their marks.
    CREATE TABLE given_out (
      kind TEXT NOT NULL,
      value TEXT NOT NULL,
      node INTEGER NOT NULL REFERENCES node (id),
      past INTEGER NOT NULL DEFAULT 0 CHECK (past IN (0, 1)),
      PRIMARY KEY (kind, value)
    ) WITHOUT ROWID;
    CREATE INDEX given_out_node ON given_out (node);
    CREATE TABLE stage (
      node INTEGER NOT NULL REFERENCES node (id),
      stage TEXT NOT NULL
        CHECK (stage IN ('flash', 'boot', 'identity', 'self-test', 'label')),
      outcome TEXT NOT NULL
        CHECK (outcome IN ('PASS', 'FAIL', 'ERROR', 'TIMEOUT', 'ABORTED')),
      at TEXT NOT NULL,
      detail TEXT,
      PRIMARY KEY (node, stage)
    ) WITHOUT ROWID;
    CREATE INDEX stage_outcome ON stage (stage, outcome);
    CREATE TABLE measurement (
      node INTEGER NOT NULL REFERENCES node (id),
      item TEXT NOT NULL,
      outcome TEXT NOT NULL,
      value REAL, unit TEXT, low REAL, high REAL,
      at TEXT NOT NULL,
      PRIMARY KEY (node, item)
    ) WITHOUT ROWID;
    CREATE TABLE audit (
      id INTEGER PRIMARY KEY,
      at TEXT NOT NULL,
      who TEXT NOT NULL,
      action TEXT NOT NULL,
      node TEXT,
      detail TEXT
    );
    CREATE INDEX audit_node ON audit (node);
    CREATE TRIGGER audit_no_update BEFORE UPDATE ON audit
      BEGIN SELECT RAISE(ABORT, 'the audit trail only grows'); END;
    CREATE TRIGGER audit_no_delete BEFORE DELETE ON audit
      BEGIN SELECT RAISE(ABORT, 'the audit trail only grows'); END;
    """,
)

_P = ParamSpec("_P")
_R = TypeVar("_R")


class Database:
    """The open file; threads may share it. All errors of SQLite come as CitynodeError."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.RLock()
        self._depth = 0
        _check_file(path)
        try:
            self._sql = _connect(path)
            try:
                self._check_schema()
            except BaseException:
                self._sql.close()
                raise
        except sqlite3.Error as error:
            raise explained(error, path) from None

    def query(
        self, sql: str, values: tuple[object, ...] | dict[str, object] = ()
    ) -> list[sqlite3.Row]:
        """Return all rows."""
        return self._told(lambda: self._sql.execute(sql, values).fetchall())

    def run(self, sql: str, values: tuple[object, ...] | dict[str, object] = ()) -> int:
        """Run one statement; returns the id of the row that it has added."""
        return self._told(lambda: self._sql.execute(sql, values).lastrowid or 0)

    def run_many(self, sql: str, rows: list[tuple[object, ...]]) -> None:
        """Run one statement for each row."""
        self._told(lambda: self._sql.executemany(sql, rows))

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Do all that is within or nothing of it; others wait. It is on the disk behind it."""
        with self._lock:
            if self._depth:
                yield  # a part of what is being written already
                return
            self._told(lambda: self._sql.execute("BEGIN IMMEDIATE"))
            self._depth += 1
            try:
                yield
                self._told(lambda: self._sql.execute("COMMIT"))
            except BaseException:
                with contextlib.suppress(sqlite3.Error):
                    self._sql.execute("ROLLBACK")
                raise
            finally:
                self._depth -= 1

    def backup(self, target: Path) -> None:
        """Copy the fleet as it is now to a new file, while others go on; whole or not at all."""
        if target.exists():
            raise CitynodeError(f"{target} is there already", "give another name")
        _copy(self.path, target)

    def close(self) -> None:
        """Close the file."""
        with self._lock, contextlib.suppress(sqlite3.Error):
            self._sql.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _told(self, work: Callable[[], _R]) -> _R:
        with self._lock:
            try:
                return work()
            except sqlite3.Error as error:
                raise explained(error, self.path) from None

    def _check_schema(self) -> None:
        (application,) = self._sql.execute("PRAGMA application_id").fetchone()
        (version,) = self._sql.execute("PRAGMA user_version").fetchone()
        if application != APPLICATION_ID:
            raise _no_fleet(self.path)
        if version > len(MIGRATIONS):
            raise CitynodeError(
                f"{self.path} is of a newer citynode (schema {version}, this one knows "
                f"{len(MIGRATIONS)})",
                "update citynode",
            )
        if version < len(MIGRATIONS):
            self._migrate()

    def _migrate(self) -> None:
        with self.writing():
            # Only now: another process may have been faster.
            (version,) = self._sql.execute("PRAGMA user_version").fetchone()
            if version < len(MIGRATIONS):
                _copy(self.path, self.path.with_name(f"{self.path.name}.v{version}.bak"))
                _apply(self._sql, version)


def create(path: Path, fill: Callable[[sqlite3.Connection], None]) -> None:
    """Make a new fleet's file, whole or not at all; `fill` puts in what it begins with.

    Raises CitynodeError if there is a file already.
    """
    there = CitynodeError(f"{path} is there already", "give --fleet another file")
    if path.exists():
        raise there
    half = path.with_name(f".{path.name}.{token_hex(4)}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        _make_file(half)
        with contextlib.closing(_connect(half)) as sql:
            sql.execute("BEGIN IMMEDIATE")
            sql.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            _apply(sql, 0)
            fill(sql)
            sql.execute("COMMIT")
        _sync(half)
        try:
            os.link(half, path)  # unlike a rename it does not replace what came in between
        except FileExistsError:
            raise there from None
        except OSError:  # no links on this file system
            half.replace(path)
        _sync(path.parent)
    except sqlite3.Error as error:
        raise explained(error, path) from None
    except OSError as error:
        raise _unwritable(path, error) from None
    finally:
        _clear(half)


def _copy(path: Path, target: Path) -> None:
    """Copy what is committed, by a connection of its own: a writer's may not be the source."""
    half = target.with_name(f".{target.name}.{token_hex(4)}")
    try:
        _make_file(half)
        with contextlib.closing(_connect(path)) as sql, contextlib.closing(_connect(half)) as copy:
            sql.backup(copy)
        _sync(half)
        half.replace(target)
        _sync(target.parent)
    except sqlite3.Error as error:
        raise explained(error, target) from None
    except OSError as error:
        raise _unwritable(target, error) from None
    finally:
        _clear(half)


def explained(error: sqlite3.Error, path: Path) -> CitynodeError:
    """Say in our words what SQLite says; its own may quote a value."""
    name = getattr(error, "sqlite_errorname", "") or type(error).__name__
    for start, what, cure in _EXPLAINED:
        if name.startswith(start):
            return CitynodeError(what.format(path=path), cure.format(path=path))
    return CitynodeError(f"{path}: SQLite says {name}", "report this, with the verb")


_EXPLAINED = (
    (
        "SQLITE_BUSY",
        "another citynode is writing to {path}",
        "wait for it, then run this again; nothing was written",
    ),
    ("SQLITE_LOCKED", "another citynode is writing to {path}", "wait for it, then run this again"),
    (
        "SQLITE_CONSTRAINT_UNIQUE",
        "another node in {path} has the same: nothing was written",
        "an identity is for one board",
    ),
    ("SQLITE_FULL", "the disk is full: nothing was written to {path}", "make room, run this again"),
    ("SQLITE_NOTADB", "{path} is no fleet", "give --fleet the file that 'fleet init' made"),
    (
        "SQLITE_CORRUPT",
        "{path} is damaged",
        "go back to a backup (see 'citynode fleet backup'); keep this file for its key marks",
    ),
    ("SQLITE_IOERR", "cannot write {path}: nothing was changed", "check the disk and its quota"),
    ("SQLITE_READONLY", "{path} cannot be written", "make file and folder writable for you"),
    ("SQLITE_CANTOPEN", "cannot open {path}", "make file and folder readable and writable for you"),
)


def _connect(path: Path) -> sqlite3.Connection:
    sql = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
    try:
        sql.row_factory = sqlite3.Row
        sql.execute("PRAGMA foreign_keys = ON")
        sql.execute("PRAGMA secure_delete = ON")  # what is forgotten is overwritten
        sql.execute("PRAGMA journal_mode = WAL")
        sql.execute("PRAGMA synchronous = FULL")
    except BaseException:
        sql.close()
        raise
    return sql


def _apply(sql: sqlite3.Connection, version: int) -> None:
    """Run what lacks; within a transaction, as `executescript` would end it."""
    for script in MIGRATIONS[version:]:
        for statement in _statements(script):
            sql.execute(statement)
    sql.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")


def _statements(script: str) -> Iterator[str]:
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if statement.strip() and sqlite3.complete_statement(statement):
            yield statement
            statement = ""


def _check_file(path: Path) -> None:
    try:
        with path.open("rb") as file:
            mode, head = os.fstat(file.fileno()).st_mode, file.read(16)
    except FileNotFoundError:
        raise CitynodeError(
            f"there is no fleet in {path}", "make one with 'citynode fleet init', or give --fleet"
        ) from None
    except OSError as error:
        raise CitynodeError(
            f"cannot read {path}: {error.strerror}", "give --fleet a readable file"
        ) from None
    if head != b"SQLite format 3\0":
        raise _no_fleet(path)  # an empty file would become a database
    if os.name == "posix" and mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise CitynodeError(f"others can read {path}, which has secrets", f"chmod 600 {path}")


def _no_fleet(path: Path) -> CitynodeError:
    return CitynodeError(f"{path} is no fleet", "give --fleet the file that 'fleet init' made")


def _unwritable(path: Path, error: OSError) -> CitynodeError:
    return CitynodeError(
        f"cannot write {path}: {os.strerror(error.errno or 0)}", "give a file that can be written"
    )


def _clear(half: Path) -> None:
    for suffix in ("", "-wal", "-shm"):
        half.with_name(half.name + suffix).unlink(missing_ok=True)


def _make_file(path: Path) -> None:
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))


def _sync(path: Path) -> None:
    if os.name != "posix" and path.is_dir():
        return
    handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
