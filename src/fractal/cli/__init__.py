"""The command `fractal`: each file here without a leading underscore is a command, imported when it is asked for."""

from __future__ import annotations

import importlib
import os
import pkgutil
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

import click

from fractal import __version__
from fractal.cli._command import Failure
from fractal.errors import FractalError, MissingExtra, suggestion
from fractal.printable import visible_lines

__all__ = ["app", "main"]

SECTIONS = {
    "Begin": ("demo", "fetch", "inspect", "doctor"),
    "Rate": ("rate", "combine"),
    "Learn and score": ("train", "tune", "score", "disaggregate", "calibrate"),
    "Look and judge": ("show", "evaluate", "compare", "report", "plot", "watch", "guarantee"),
    "Work as a team": ("serve", "worker"),
    "Pass on and keep": ("pick", "export", "suggest", "corrupt", "list", "embed", "cache"),
}
INTERRUPTED, PIPE_CLOSED = 130, 141  # what shells expect: 128 and the number of the signal


class Commands(click.Group):
    """The group of all commands: found by the name of their file, so that one command loads one file."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(name for _, name, _ in pkgutil.iter_modules(__path__) if not name.startswith("_"))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.list_commands(ctx):
            return None
        command: click.Command = importlib.import_module(f"{__name__}.{cmd_name}").command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        names = self.list_commands(ctx)
        if args and args[0] not in names and not args[0].startswith("-"):
            ctx.fail(f"No command is called {args[0]!r}.{suggestion(args[0], names)} `fractal --help` lists them.")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        names = self.list_commands(ctx)
        placed = {name for section in SECTIONS.values() for name in section}
        width = max(map(len, names))
        for title, section in {**SECTIONS, "More": tuple(name for name in names if name not in placed)}.items():
            commands = [(name, self.get_command(ctx, name)) for name in section if name in names]
            if commands:
                with formatter.section(title):
                    rows = [
                        (name.ljust(width), command.get_short_help_str(100)) for name, command in commands if command
                    ]
                    formatter.write_dl(rows)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            _nobody_reads_on()
        except (FractalError, OSError, EOFError) as error:  # click takes EOFError for an interruption
            if ctx.meta.get("fractal.debug"):
                raise
            raise Failure.of(error) from error
        except ModuleNotFoundError as error:
            missing = MissingExtra.of(f"`fractal {ctx.invoked_subcommand}`", error)
            if missing is None or ctx.meta.get("fractal.debug"):
                raise
            raise Failure.of(missing) from error


@click.command(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="`fractal COMMAND --help` shows a command's options and two examples. "
    'Completion: eval "$(_FRACTAL_COMPLETE=bash_source fractal)" (or zsh_source, fish_source).',
)
@click.version_option(__version__, prog_name="fractal")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
@click.pass_context
def app(ctx: click.Context, debug: bool) -> None:
    """Turn labels on whole responses into scores for every sentence."""
    ctx.meta["fractal.debug"] = debug


def main(args: Sequence[str] | None = None) -> NoReturn:
    """Run the command line; results go to stdout, all else to stderr."""
    try:
        code = app.main(args=args, prog_name="fractal", standalone_mode=False)
        sys.stdout.flush()
    except click.ClickException as error:
        error.__dict__["message"] = visible_lines(error.message)
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        click.echo("Interrupted.", err=True)
        sys.exit(INTERRUPTED)
    except BrokenPipeError:
        _nobody_reads_on()
    sys.exit(code if isinstance(code, int) else 0)


def _nobody_reads_on() -> NoReturn:
    """End without a word; what is still to be flushed goes nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(PIPE_CLOSED)
