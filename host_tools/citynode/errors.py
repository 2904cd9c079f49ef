"""What can go wrong on the host side, as typed errors that carry their cure."""


class CitynodeError(Exception):
    """An error whose text is meant for the person at the keyboard.

    `what` says what happened, `cure` what to do about it, `exit_code` is what the CLI ends with:
    1 when a board failed, 2 for wrong usage, a fatal condition or an interruption.
    """

    def __init__(self, what: str, cure: str = "", *, exit_code: int = 2) -> None:
        super().__init__(what)
        self.what = what
        self.cure = cure
        self.exit_code = exit_code

    def __str__(self) -> str:
        return f"{self.what}; {self.cure}" if self.cure else self.what
