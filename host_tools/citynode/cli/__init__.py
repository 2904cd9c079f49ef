"""The command line: one module per verb; this one only gathers them and turns errors into lines."""

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import NoReturn

import typer
from typer._click.exceptions import ClickException, NoArgsIsHelpError, UsageError

from citynode import __version__
from citynode.errors import CitynodeError

VERBS = (
    "boards",
    "profile",
    "image",
    "flash",
    "provision",
    "bench",
    "selftest",
    "export",
    "command",
    "fleet",
    "calibrate",
    "monitor",
    "decode",
    "ports",
    "doctor",
    "replay",
    "soak",
    "virtual",
    "demo",
)

_INTERRUPTED = 130  # what Typer makes of Ctrl-C


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"citynode {__version__}")
        raise typer.Exit


def build_app(verbs: Sequence[str] = VERBS) -> typer.Typer:
    """Build the application with these verbs registered."""
    app = typer.Typer(
        name="citynode",
        help="Flash, provision, watch and soak-test ESP32 sensor nodes, real or virtual.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )

    @app.callback()
    def root(
        version: bool = typer.Option(
            False, "--version", help="Print the version and end.", callback=_print_version
        ),
    ) -> None:
        pass

    for verb in verbs:
        import_module(f"citynode.cli.{verb}").register(app)
    return app


def _asked_for(arguments: Sequence[str]) -> Sequence[str]:
    """Return the one verb of a command line, all where it has none: each costs its imports."""
    verb = next((each for each in arguments if not each.startswith("-")), None)
    return (verb,) if verb in VERBS else VERBS


def main() -> NoReturn:
    """Run the CLI: errors become one line on stderr, an interruption ends with 2."""
    try:
        code = build_app(_asked_for(sys.argv[1:]))(standalone_mode=False)
        if code == _INTERRUPTED:
            raise KeyboardInterrupt
        sys.exit(code if isinstance(code, int) else 0)
    except CitynodeError as error:
        print(f"citynode: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except NoArgsIsHelpError as error:
        error.show()
        sys.exit(2)
    except ClickException as error:
        print(f"citynode: {_one_line(error)}", file=sys.stderr)
        sys.exit(2)
    except (KeyboardInterrupt, typer.Abort):
        print("citynode: interrupted", file=sys.stderr)
        # Python ends by the signal itself, whatever is raised here, where Ctrl-C has met it in code
        # made of a string (dataclasses). All that has to be cleaned up has been.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(2)


def _one_line(error: ClickException) -> str:
    """Return what is wrong with the call, and where it is taught."""
    words: list[str] = []
    context = error.ctx if isinstance(error, UsageError) else None
    while context is not None and context.parent is not None:
        words.insert(0, context.info_name or "")
        context = context.parent
    verb = " ".join(["citynode", *words])
    what = " ".join(error.format_message().split()).rstrip(".")
    return f"{what}{'' if what.endswith('?') else ';'} see '{verb} --help'"
