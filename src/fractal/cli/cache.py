"""`fractal cache`: what the embedding cache holds, and how to empty it."""

from __future__ import annotations

from pathlib import Path

import click

from fractal.cli._command import subcommand
from fractal.cli._options import json_option
from fractal.cli._output import emit, print_json, table
from fractal.errors import BadSpec

__all__ = ["command"]

folder_option = click.option("--folder", metavar="FOLDER", help="Instead of FRACTAL_CACHE or the platform's place.")


@click.group("cache")
def command() -> None:
    """Show or empty the cache of sentence vectors.

    Vectors are kept so that no text is encoded twice. Emptying it loses nothing but time.
    """


@subcommand("info", "fractal cache info", "fractal cache info --json")
@folder_option
@json_option
def info(folder: str | None, as_json: bool) -> None:
    """Say what is kept, for which encoders, and how large it is."""
    from fractal.encoders import EmbeddingCache

    cache = EmbeddingCache(folder).info()
    if as_json:
        parts = [{name: getattr(part, name) for name in part.__slots__} for part in cache.namespaces]
        print_json({"folder": cache.folder, "entries": cache.entries, "bytes": cache.bytes, "namespaces": parts})
        return
    rows = [(part.namespace, f"{part.entries:,}", str(part.width), size(part.bytes)) for part in cache.namespaces]
    if rows:
        table("", ("of", "vectors", "width", "size"), rows)
    emit(f"{cache.folder}: {cache.entries:,} vectors, {size(cache.bytes)}")


@subcommand("clear", "fractal cache clear", "fractal cache clear --only NAMESPACE --yes")
@folder_option
@click.option("--only", metavar="NAMESPACE", help="Only this one, as `fractal cache info` names it.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
def clear(folder: str | None, only: str | None, yes: bool) -> int:
    """Empty the cache, or one encoder's part of it."""
    from fractal.encoders import EmbeddingCache

    cache = EmbeddingCache(folder)
    if not Path(cache.folder).is_dir():
        raise BadSpec(f"{cache.folder} is no folder: there is nothing to remove")
    if not yes and not click.confirm(f"Remove {only or 'everything'} from {cache.folder}?", err=True):
        return 1
    emit(f"{size(cache.clear(only))} set free in {cache.folder}")
    return 0


def size(count: float) -> str:
    """Write a number of bytes for people."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


command.add_command(info)
command.add_command(clear)
