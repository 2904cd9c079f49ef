"""Writes the codecs into `provisioning/codecs`, and the page of all record types into `docs`."""

from citynode.codecs import folder, reference_page, render


def main() -> None:
    """Write every file anew."""
    folder().mkdir(exist_ok=True)
    page, contents = reference_page()
    files = {page: contents, **{folder() / name: text for name, text in render().items()}}
    for path, text in files.items():
        path.write_text(text, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()
