"""What ESP-IDF prints when a program dies, before the chip restarts."""


def last_words(kind: str, uptime_ms: int) -> bytes:
    """Return the lines of the panic handler: `kind` is "task_wdt", "panic" or else (nothing).

    The wording of the first lines is what monitors and log filters look for (ESP-IDF Programming
    Guide, "Fatal Errors" and "Watchdogs"). No register dump or backtrace is made up: the addresses
    would belong to no program.
    """
    lines: tuple[str, ...]
    if kind == "task_wdt":
        lines = (
            f"E ({uptime_ms}) task_wdt: Task watchdog got triggered. "
            "The following tasks/users did not reset the watchdog in time:",
            f"E ({uptime_ms}) task_wdt:  - mp_task (CPU 1)",
            f"E ({uptime_ms}) task_wdt: Tasks currently running:",
            f"E ({uptime_ms}) task_wdt: CPU 1: mp_task",
            f"E ({uptime_ms}) task_wdt: Aborting.",
            "",
            "Rebooting...",
        )
    elif kind == "panic":
        lines = (
            "Guru Meditation Error: Core  1 panic'ed (Unhandled debug exception). ",
            "",
            "Rebooting...",
        )
    else:
        return b""
    return "".join(f"{line}\r\n" for line in lines).encode()
