"""Names of columns and values come from files: no command lets them steer the terminal."""

from __future__ import annotations

import json

import pytest

from fractal.cli import main

ODD = "\x1b]0;title\x07\x9b2J\u202eevil"


def said(capsys: pytest.CaptureFixture[str], *args: str) -> str:
    with pytest.raises(SystemExit):
        main(list(args))
    out, err = capsys.readouterr()
    assert not set(ODD[:1] + "\x07\x9b\u202e") & set(out + err), repr(out + err)
    return out + err


@pytest.mark.parametrize("command", ["train", "evaluate", "show"])
def test_names_of_columns_steer_no_terminal(tmp_path, capsys, command):
    path = tmp_path / "a.jsonl"
    rows = [{"id": f"{ODD}{n}", "response": f"One {n}. Two.", f"rating {ODD}": n % 2, ODD: ODD} for n in range(6)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    more = {"train": ["--dry-run", "--column", f"label=rating {ODD}", "--encoder", "hashing(dim=64)"]}.get(command, [])
    assert "evil" in said(capsys, command, str(path), *more)
