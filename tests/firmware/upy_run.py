"""Run tests on MicroPython in virtual time: `micropython upy_run.py FOLDERS MODULE:FUNCTION`.

FOLDERS, split by `:`, are those of the virtual board's modules (`time`), of its core (`_tasks`),
of `fast` and of what else is imported. Ends with 1 and a traceback where the test fails.
"""

import sys

_upy, _core, *_folders = sys.argv[1].split(":")
sys.path[:] = _folders
import _native  # noqa: E402, F401  (has the interpreter's `time`, before another takes its name)

sys.path[:] = [_upy] + _folders + [_core]
import time  # noqa: E402, F401

sys.path.remove(_upy)
import _tasks  # noqa: E402

sys.modules["_asyncio"] = _tasks
sys.path[:] = _folders + [".frozen"]

module, function = sys.argv[2].split(":")
getattr(__import__(module), function)()
