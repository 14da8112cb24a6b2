"""What every command shares: examples under its help, `--debug`, and how an error is told."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import click

from fractal.cli._shell import in_shell_words
from fractal.printable import visible_lines

__all__ = ["Command", "Failure", "subcommand"]

USER_ERROR = 2


class Failure(click.ClickException):
    """An error that the user can mend: its message, without a traceback."""

    exit_code = USER_ERROR

    @classmethod
    def of(cls, error: Exception) -> Failure:
        """Tell an error in one message."""
        if isinstance(error, OSError) and error.strerror and not error.__class__.__module__.startswith("fractal"):
            place = f"{error.filename}: " if error.filename else ""
            return cls(visible_lines(f"{place}{error.strerror}"))
        return cls(visible_lines(in_shell_words(str(error))) or type(error).__name__)


class Command(click.Command):
    """A command whose help ends with examples."""

    def __init__(self, *args: Any, examples: Sequence[str] = (), **options: Any) -> None:
        super().__init__(*args, **options)
        self.examples = tuple(examples)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        if self.examples:
            with formatter.section("Examples"):
                for example in self.examples:
                    formatter.write(f"{' ' * formatter.current_indent}{example}\n")
        super().format_epilog(ctx, formatter)

    def invoke(self, ctx: click.Context) -> Any:
        with warnings.catch_warnings():
            warnings.showwarning = _one_line
            return super().invoke(ctx)


def subcommand(name: str, *examples: str, **options: Any) -> Callable[[Callable[..., Any]], Command]:
    """Make a function a command of that name, with examples for its help."""

    def enter(function: Callable[..., Any]) -> Command:
        with_debug = click.option(
            "--debug", is_flag=True, hidden=True, expose_value=False, is_eager=True, callback=_remember_debug
        )(function)
        return click.command(name, cls=Command, examples=examples, **options)(with_debug)

    return enter


def _remember_debug(ctx: click.Context, parameter: click.Parameter, value: bool) -> None:
    if value:
        ctx.meta["fractal.debug"] = True


def _one_line(message: Warning | str, *_: Any, **__: Any) -> None:
    click.echo(f"Warning: {visible_lines(str(message))}", err=True)
