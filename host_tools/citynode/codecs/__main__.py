"""Writes the codecs into `provisioning/codecs`."""

from citynode.codecs import folder, render


def main() -> None:
    """Write every file anew."""
    folder().mkdir(exist_ok=True)
    for name, text in render().items():
        (folder() / name).write_text(text, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()
