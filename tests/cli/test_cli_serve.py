"""`fractal serve` and `fractal worker`: what they refuse, and what they print."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

pytest.importorskip("fastapi", reason="the studio needs its extra: pip install 'fractal-scores[serve]'")

from fractal.cli import app
from support.servers import Served


def invoke(*args: str, text: str = ""):
    return CliRunner().invoke(app, args, input=text)


def test_users_are_made_from_the_command_line(tmp_path: Path) -> None:
    options = ("serve", "--data", str(tmp_path), "--add-user", "ann", "--password-stdin")
    assert "can log in" in invoke(*options, text="a long password\n").output
    assert "at least 10" in invoke(*options, text="short\n").output


def test_other_addresses_are_refused(tmp_path: Path) -> None:
    result = invoke("serve", "--data", str(tmp_path), "--host", "0.0.0.0", "--port", "0", "--workers", "0")
    assert result.exit_code != 0
    assert "can be reached by others" in result.output
    assert "both" in invoke("serve", "--data", str(tmp_path), "--tls-key", "k").output


@pytest.mark.parametrize("url", ["mysql://x", "nonsense"])
def test_strange_databases_are_refused(tmp_path: Path, url: str) -> None:
    result = invoke("serve", "--data", str(tmp_path), "--database", url)
    assert result.exit_code != 0
    assert "postgresql" in result.output


@pytest.mark.slow
def test_a_server_and_its_worker_start_and_stop_together(tmp_path: Path) -> None:
    with Served(tmp_path / "s") as served:
        assert served.link.startswith(served.url)
        children = Path(f"/proc/{served.process.pid}/task/{served.process.pid}/children").read_text().split()
        assert children
    assert not any(Path(f"/proc/{child}").exists() for child in children)
