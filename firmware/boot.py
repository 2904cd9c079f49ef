"""Choose the slot of the application: /slot names it, /a is the one where nothing is said."""

import sys

try:
    with open("/slot") as _file:
        _slot = _file.read(1)
except OSError:
    _slot = ""
sys.path.insert(0, "/b" if _slot == "b" else "/a")
