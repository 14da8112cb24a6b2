"""Writes the help of every command as one page of documentation: `python -m fractal.cli._pages docs/cli.md`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from fractal.cli import app

__all__ = ["document"]

WIDTH = 100
INTRODUCTION = """# The command line

Generated from the commands' own help by `python -m fractal.cli._pages docs/cli.md`.

- `-` is standard input or output. Results go to stdout, all else to stderr, so commands chain.
- Files are written beside their place and renamed: an interrupted command leaves no half file.
- Exit codes: 0 good; 1 something was looked for and found wanting (`inspect --strict`, `show`, `doctor`); 2 usage or
  data are wrong; 130 interrupted; 141 nobody reads the output on. `--debug` shows the traceback of an error.
- `NO_COLOR` and `FORCE_COLOR` are heeded. `FRACTAL_CACHE` says where sentence vectors are kept.
- Completion: `eval "$(_FRACTAL_COMPLETE=bash_source fractal)"` in `~/.bashrc`; `zsh_source` or `fish_source` elsewhere.

## Settings in a file

`fractal train --config settings.toml` reads what flags would say, by the same names; flags win. JSON works alike.
Paths of data are taken from the file's own folder where they exist there.

```toml
sources = ["ratings.jsonl"]
aggregation = "product"
prior = ["cosine(weight=0.05)"]
scale = "1..5"

[column]
response = "answer"
label = "stars"

[set]
epochs = 30
learning_rate = 1e-3
```
"""


def document() -> str:
    """Return the whole page."""
    return INTRODUCTION + "".join(_sections(app, _context(app, "fractal")))


def _sections(command: click.Command, ctx: click.Context) -> Iterator[str]:
    yield f"\n## `{ctx.command_path}`\n\n```text\n{command.get_help(ctx).rstrip()}\n```\n"
    if isinstance(command, click.Group):
        for name in command.list_commands(ctx):
            inner = command.get_command(ctx, name)
            if inner is not None and not inner.hidden:
                yield from _sections(inner, _context(inner, name, ctx))


def _context(command: click.Command, name: str, parent: click.Context | None = None) -> click.Context:
    """Return where a command stands, at one width on every machine."""
    settings: dict[str, Any] = {**command.context_settings, "terminal_width": WIDTH, "max_content_width": WIDTH}
    return click.Context(command, info_name=name, parent=parent, **settings)


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(document(), encoding="utf-8")
