"""The line editor of the prompt: cursor, history, indentation, completion."""

_KEEP = 8  # lines of history
_COMPOUND = ("@", "if", "while", "for", "try", "with", "def", "class", "async")
_INDENT = "    "
_CONTROL = "\x01\x02\x03\x04\x05"


def is_open(text):
    """Tell whether the statement in `text` goes on in the next line."""
    word = ""
    for c in text:
        if not (c.isalpha() or (c == "@" and not word)):
            break
        word += c
        if c == "@":
            break
    depth = 0
    quote = ""
    i = 0
    while i < len(text):
        c = text[i]
        if quote:
            if c == "\\":
                i += 1
            elif text[i : i + len(quote)] == quote:
                i += len(quote) - 1
                quote = ""
        elif c in "'\"":
            quote = c * 3 if text[i : i + 3] == c * 3 else c
            i += len(quote) - 1
        elif c == "#":
            while i + 1 < len(text) and text[i + 1] != "\n":
                i += 1
        elif c in "([{":
            depth += 1
        elif c in ")]}":
            depth -= 1
        i += 1
    if len(quote) == 3 or depth > 0:
        return True
    if quote:
        return False
    return text[-1:] == "\\" or (word in _COMPOUND and text[-1:] != "\n")


class Readline:
    """Reads lines by `char()`, echoes by `write()`, completes names of `names` (or None)."""

    def __init__(self, char, write, names):
        self._char = char
        self._write = write
        self._names = names
        self._history = []

    def read(self, prompt, before=""):
        """Return (control character or "", line); `before` is the statement so far."""
        self._prompt = prompt
        self._line = ""
        self._at = 0
        self._write(prompt)
        self._recalled = -1
        indent = self._indentation(before)
        if indent:
            self._insert(indent)
        start = len(self._line)
        while True:
            c = self._next()
            if c and c in _CONTROL and (len(self._line) == start or c == "\x03"):
                return c, ""
            if c == "\r":
                self._write("\n")
                line = self._line
                if line.strip() and (not self._history or self._history[0] != line):
                    self._history.insert(0, line)
                    del self._history[_KEEP:]
                return "", line
            self._key(c)

    def _next(self):
        byte = self._char()
        first = byte[0]
        if first < 0xC0:
            return chr(first) if first < 0x80 else ""
        for _ in range(1 if first < 0xE0 else 2 if first < 0xF0 else 3):
            byte += self._char()
        try:
            return byte.decode()
        except UnicodeError:
            return ""

    def _key(self, c):
        if c == "\x01":
            self._move(0)
        elif c == "\x05":
            self._move(len(self._line))
        elif c == "\x02":
            self._move(self._at - 1)
        elif c == "\x06":
            self._move(self._at + 1)
        elif c == "\x04":
            self._cut(self._at, self._at + 1)
        elif c == "\x0b":
            self._cut(self._at, len(self._line))
        elif c == "\x15":
            self._cut(0, self._at)
        elif c in ("\x08", "\x7f"):
            before = self._line[: self._at]
            # An indentation goes away as it came: in fours.
            wide = 4 if before and not before.strip() and len(before) % 4 == 0 else 1
            self._cut(max(0, self._at - wide), self._at)
        elif c == "\x0e":
            self._recall(-1)
        elif c == "\x10":
            self._recall(1)
        elif c == "\t":
            self._tab()
        elif c == "\x1b":
            self._escape()
        elif c >= " ":
            self._insert(c)

    def _escape(self):
        if self._next() not in "[O":
            return
        c = self._next()
        number = ""
        while c.isdigit():
            number += c
            c = self._next()
        if c == "A":
            self._recall(1)
        elif c == "B":
            self._recall(-1)
        elif c == "C":
            self._move(self._at + 1)
        elif c == "D":
            self._move(self._at - 1)
        elif c == "H" or (c == "~" and number in ("1", "7")):
            self._move(0)
        elif c == "F" or (c == "~" and number in ("4", "8")):
            self._move(len(self._line))
        elif c == "~" and number == "3":
            self._cut(self._at, self._at + 1)

    def _move(self, to):
        to = min(max(to, 0), len(self._line))
        if to < self._at:
            self._write(
                "\x1b[%dD" % (self._at - to) if self._at - to > 4 else "\b" * (self._at - to)
            )
        elif to > self._at:
            self._write(self._line[self._at : to])
        self._at = to

    def _rest(self):
        """Draw what is right of the cursor again and come back."""
        rest = self._line[self._at :]
        self._write("\x1b[K" + rest + ("\x1b[%dD" % len(rest) if rest else ""))

    def _insert(self, text):
        end = self._at == len(self._line)
        self._line = self._line[: self._at] + text + self._line[self._at :]
        self._at += len(text)
        self._write(text)
        if not end:
            self._rest()

    def _cut(self, start, stop):
        if start >= min(stop, len(self._line)):
            return
        self._move(start)
        self._line = self._line[:start] + self._line[stop:]
        self._rest()

    def _recall(self, step):
        to = self._recalled + step
        if not -1 <= to < len(self._history):
            return
        self._recalled = to
        self._cut(0, len(self._line))
        if to >= 0:
            self._insert(self._history[to])

    def _indentation(self, before):
        """Return the blanks that the next line of a statement starts with."""
        lines = before.split("\n")
        last = lines[-1]
        if not before or (not last.strip() and len(lines) > 1 and last):
            return last[:-4] if before and last.endswith(_INDENT) else ""
        blanks = last[: len(last) - len(last.lstrip())]
        return blanks + _INDENT if last.rstrip()[-1:] == ":" else blanks

    def _tab(self):
        before = self._line[: self._at]
        if not before.strip():
            self._insert(" " * (4 - len(before) % 4))
            return
        if self._names is None:
            return
        start = len(before)
        while start and (
            before[start - 1].isalpha() or before[start - 1].isdigit() or before[start - 1] in "_."
        ):
            start -= 1
        *owners, prefix = before[start:].split(".")
        found = self._candidates(owners, prefix)
        if not found:
            return
        common = found[0]
        for name in found[1:]:
            while not name.startswith(common):
                common = common[:-1]
        if len(common) > len(prefix):
            self._insert(common[len(prefix) :])
        elif len(found) > 1:
            self._write("\n")
            text = ""
            for name in found:
                text += name + " " * (16 - len(name) % 16)
                if len(text) >= 64:
                    self._write(text.rstrip() + "\n")
                    text = ""
            if text:
                self._write(text.rstrip() + "\n")
            self._write(self._prompt + self._line)
            back = len(self._line) - self._at
            if back:
                self._write("\x1b[%dD" % back)

    def _candidates(self, owners, prefix):
        if owners:
            value = self._names.get(owners[0])
            for owner in owners[1:]:
                value = getattr(value, owner, None)
            if value is None:
                return []
            names = dir(value)
        else:
            names = list(self._names)
        shown = [
            name
            for name in names
            if name.startswith(prefix) and (prefix or not name.startswith("_"))
        ]
        return sorted(shown)
