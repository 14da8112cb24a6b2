"""`fractal serve`: the studio, a page and an API around the scorer."""

from __future__ import annotations

import dataclasses
import os
import sys
from pathlib import Path

import click

from fractal.cli._command import subcommand
from fractal.errors import BadSpec, MissingExtra

__all__ = ["command", "studio_options"]


def studio_options(function: click.decorators.FC) -> click.decorators.FC:
    """Give a command the options that say where a studio's data stand."""
    for option in (
        click.option(
            "--database",
            default="",
            metavar="URL",
            help="As in postgresql+psycopg://user@host/name.  [default: SQLite]",
        ),
        click.option(
            "--data", default=".fractal/studio", show_default=True, metavar="FOLDER", help="Where files are kept."
        ),
    ):
        function = option(function)
    return function


@subcommand(
    "serve",
    "fractal serve",
    "fractal serve --host 0.0.0.0 --behind-proxy --database postgresql+psycopg://fractal@db/fractal",
)
@studio_options
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to answer on.")
@click.option("--port", default=8765, show_default=True, type=click.IntRange(0, 65535), help="0 takes a free one.")
@click.option(
    "--workers", default=1, show_default=True, type=click.IntRange(0), help="Worker processes started beside it."
)
@click.option("--behind-proxy", is_flag=True, help="A proxy before it speaks TLS and passes on who asks.")
@click.option("--tls-certificate", default="", metavar="FILE", help="To speak TLS itself.")
@click.option("--tls-key", default="", metavar="FILE", help="The certificate's key.")
@click.option("--add-user", metavar="NAME", help="Make an admin, or change their password, and stop.")
@click.option("--password-stdin", is_flag=True, help="With --add-user: read the password from stdin.")
def command(
    data: str,
    database: str,
    host: str,
    port: int,
    workers: int,
    behind_proxy: bool,
    tls_certificate: str,
    tls_key: str,
    add_user: str | None,
    password_stdin: bool,
) -> None:
    """Open the studio: import ratings, train, look, correct, and score by an API.

    On 127.0.0.1 it prints a link that lets one browser in. On any other address it starts only with a user and TLS, or
    behind a proxy that speaks TLS.
    """
    if bool(tls_certificate) != bool(tls_key):
        raise BadSpec("TLS needs both: give --tls-certificate and --tls-key")
    try:
        from fractal.server.serving import serve
        from fractal.server.settings import Settings
        from fractal.server.studio import Studio
    except ModuleNotFoundError as error:
        raise MissingExtra("The studio", "serve", error.name or "") from error
    settings = Settings(Path(data), database, host, port, behind_proxy, tls_certificate, tls_key)
    if add_user:
        studio = Studio.open(settings)
        studio.add_user(add_user, _password(password_stdin))
        studio.close()
        click.echo(f"{add_user} can log in as an admin.", err=True)
        return
    lease = os.environ.get("FRACTAL_LEASE_SECONDS")
    serve(dataclasses.replace(settings, lease_seconds=float(lease)) if lease else settings, workers)


def _password(stdin: bool) -> str:
    if stdin:
        return sys.stdin.readline().rstrip("\n")
    return str(click.prompt("Password", hide_input=True, confirmation_prompt=True, err=True))
