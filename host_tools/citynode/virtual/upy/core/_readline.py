"""The line editor of the prompt: cursor, history, indentation, completion."""

_KEEP = 8  # lines of history
_COMPOUND = ("if", "while", "for", "try", "with", "def", "class", "async")
_INDENT = "    "
_IMPORT = "import "
_COLUMN, _WIDTH = 16, 64  # of the list of names
_CLOSING = {"(": ")", "[": "]", "{": "}"}


def _is_name(c):
    return c.isalpha() or c.isdigit() or c == "_"


def is_open(text):
    """Tell whether the statement in `text` goes on in the next line."""
    if not text:
        return False
    depth = dict.fromkeys(_CLOSING, 0)
    quote = ""
    i = 0
    while i < len(text):
        c = text[i]
        if c in "'\"" and (not quote or quote[0] == c):
            # Within a string of one quote the next quote of its kind ends it, even if three come.
            if text[i : i + 3] == c * 3 and len(quote) != 1:
                quote = "" if quote else c * 3
                i += 2
            elif len(quote) != 3:
                quote = "" if quote else c
        elif c == "\\" and quote and text[i + 1 : i + 2] in ("'", '"', "\\"):
            i += 1
        elif not quote:
            for opening, closing in _CLOSING.items():
                depth[opening] += (c == opening) - (c == closing)
        i += 1
    if len(quote) == 3 or (not quote and any([n > 0 for n in depth.values()])):
        return True
    if text[-1] == "\\":
        return True
    return text[-1] != "\n" and _is_compound(text)


def _is_compound(text):
    if text[0] == "@":
        return True
    for word in _COMPOUND:
        if text.startswith(word) and not _is_name(text[len(word) : len(word) + 1] or " "):
            return True
    return False


class Readline:
    """Reads lines by `char()`, echoes by `write()`.

    `names` are those that Tab completes, `modules()` gives the names of what can be imported;
    without them Tab completes nothing.
    """

    def __init__(self, char, write, names=None, modules=None):
        self._char = char
        self._write = write
        self._names = names
        self._modules = modules
        self._history = []
        self._indents = True

    def read(self, prompt, before=""):
        """Return (control character or "", line); `before` is the statement so far."""
        self._prompt = prompt
        self._before = before
        self._line = ""
        self._at = 0
        self._recalled = -1
        self._write(prompt)
        if not before:
            self._indents = True
        self._fresh = self._indents and self._indent(before)
        while True:
            c = self._char()[0]
            if c <= 5 and c and (not self._line or c == 3):
                return chr(c), ""
            if c == 13:
                self._write("\n")
                line = self._line
                if line and (not self._history or self._history[0] != line):
                    self._history.insert(0, line)
                    del self._history[_KEEP:]
                return "", line
            fresh, self._fresh = self._fresh, False
            if fresh and c in (9, 32):
                # Who goes on with blanks after an indentation wants it otherwise.
                self._indents = False
                if c == 32:
                    self._cut(self._at - 3, self._at)
                continue
            self._key(c)

    def _indent(self, before):
        """Start the line as deep as the one before; tell whether that is deep at all."""
        lines = before.split("\n")
        last = lines[-1]
        blanks = len(last) - len(last.lstrip(" "))
        if not before:
            return False
        if len(lines) > 2 and not last.strip(" ") and not lines[-2].strip(" "):
            return False  # after two empty lines
        depth = blanks // 4 + (last[-1:] == ":")
        self._insert(_INDENT * depth)
        return depth > 0

    def _key(self, c):
        if c == 1:
            self._move(0)
        elif c == 5:
            self._move(len(self._line))
        elif c == 2:
            self._move(self._at - 1)
        elif c == 6:
            self._move(self._at + 1)
        elif c == 4:
            self._cut(self._at, self._at + 1)
        elif c == 11:
            self._cut(self._at, len(self._line))
        elif c == 21:
            self._cut(0, self._at)
        elif c in (8, 127):
            # An indentation goes away as it came: in fours.
            blank = not self._line[: self._at].strip(" ")
            self._cut(self._at - (4 if blank and self._at >= 4 else 1), self._at)
        elif c == 14:
            self._recall(-1)
        elif c == 16:
            self._recall(1)
        elif c == 9:
            self._tab()
        elif c == 27:
            self._escape()
        elif 32 <= c < 127:
            self._insert(chr(c))

    def _escape(self):
        kind = self._char()
        if kind not in (b"[", b"O"):
            return
        c = self._char()
        if kind == b"[" and c.isdigit():
            if self._char() == b"~":
                c = {b"1": b"H", b"7": b"H", b"4": b"F", b"8": b"F", b"3": b"~"}.get(c, b"")
            else:
                return
        elif kind == b"O" and c not in (b"H", b"F"):
            return
        if c == b"A":
            self._recall(1)
        elif c == b"B":
            self._recall(-1)
        elif c == b"C":
            self._move(self._at + 1)
        elif c == b"D":
            self._move(self._at - 1)
        elif c == b"H":
            self._move(0)
        elif c == b"F":
            self._move(len(self._line))
        elif c == b"~":
            self._cut(self._at, self._at + 1)

    # -- drawing --------------------------------------------------------------------------------

    def _back(self, count):
        if count > 4:
            self._write("\x1b[%dD" % count)
        elif count > 0:
            self._write("\b" * count)

    def _move(self, to):
        to = min(max(to, 0), len(self._line))
        if to < self._at:
            self._back(self._at - to)
        elif to > self._at:
            self._write(self._line[self._at : to])
        self._at = to

    def _replace(self, start, stop, text):
        """Put `text` in the place of a part of the line and the cursor behind it."""
        old = len(self._line)
        self._back(self._at - start)
        self._line = self._line[:start] + text + self._line[stop:]
        if len(self._line) < old:
            self._write("\x1b[K")
        self._write(self._line[start:])
        self._at = start + len(text)
        self._back(len(self._line) - self._at)

    def _insert(self, text):
        if text:
            self._replace(self._at, self._at, text)

    def _cut(self, start, stop):
        start, stop = max(0, start), min(stop, len(self._line))
        if start < stop:
            self._replace(start, stop, "")

    def _recall(self, step):
        to = self._recalled + step
        if not -1 <= to < len(self._history):
            return
        self._recalled = to
        self._replace(0, len(self._line), self._history[to] if to >= 0 else "")

    # -- completion -----------------------------------------------------------------------------

    def _tab(self):
        before = self._line[: self._at]
        if (before[-1:] if before else self._before and "\n") in ("\n", " "):
            self._insert(_INDENT)
        elif self._names is not None:
            start = len(before)
            while start and (_is_name(before[start - 1]) or before[start - 1] == "."):
                start -= 1
            self._complete(before, before[start:])

    def _complete(self, before, word):
        *owners, prefix = word.split(".")
        found = self._candidates(before, owners, prefix)
        if not found:
            if word == before and prefix and _IMPORT.startswith(word):
                self._insert(_IMPORT[len(word) :])
            return
        common = found[0]
        for name in found[1:]:
            while not name.startswith(common):
                common = common[:-1]
        if len(common) > len(prefix) or len(found) == 1:
            self._insert(common[len(prefix) :])
        else:
            self._list(found)
            self._write(self._prompt + self._line)
            self._back(len(self._line) - self._at)

    def _list(self, names):
        used = _WIDTH  # a new line for the first
        for name in names:
            gap = -used % _COLUMN
            if gap < 2:
                gap += _COLUMN
            if used + gap + len(name) <= _WIDTH:
                self._write(" " * gap + name)
                used += gap + len(name)
            else:
                self._write("\n" + name)
                used = len(name)
        self._write("\n")

    def _candidates(self, before, owners, prefix):
        if owners:
            value = self._names.get(owners[0])
            for owner in owners[1:]:
                value = getattr(value, owner, None)
            if value is None:
                return []
            names = dir(value)
        else:
            names = self._modules() if before.startswith(_IMPORT) else self._names
        return sorted(
            [n for n in names if n.startswith(prefix) and (prefix or not n.startswith("_"))]
        )
