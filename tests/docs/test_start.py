"""The pages to begin with are kept: every command and the example of the overview run as they stand, in order."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

from tests.first_hour.made import jsonl, table

from fractal.datasets.synthetic import make_responses
from fractal.records import Preference, Response
from fractal.writers import write
from support.commands import SMALL, run_shell, shell_blocks

DOCS = Path(__file__).parents[2] / "docs"
RATED, ANSWERS = make_responses(60, "summaries", seed=8), make_responses(20, "summaries", seed=9)
QUICK = [*SMALL, "--recipe", "own"]
CALL = {"id": "1", "type": "function", "function": {"name": "cancel_order", "arguments": '{"order": "W7"}'}}


def rating(response: Response) -> dict[str, Any]:
    return {"question": response.query, "context": "\n".join(response.context), "answer": response.text}


def log(response: Response) -> dict[str, Any]:
    """A row whose columns stand under names of its own, inside objects and lists."""
    retrieved = [{"page_content": text} for text in response.context]
    return {"reply": response.text, "retrieved": retrieved, "feedback": {"thumbs": "up" if response.label else "down"}}


def chat(response: Response) -> dict[str, Any]:
    question = response.query or "What of it?"
    messages = [{"role": "user", "content": question}, {"role": "assistant", "content": response.text}]
    return {"id": response.id, "messages": messages, "feedback": "👍" if response.label else "👎"}


def run(number: int) -> dict[str, Any]:
    """A run of an agent, which passed if it called its tool."""
    passed, asked = number % 2, {"role": "user", "content": f"Cancel order W{number}."}
    calls = [
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "1", "content": "done"},
    ]
    messages = [asked, *(calls if passed else []), {"role": "assistant", "content": "It is done."}]
    return {"id": f"r{number}", "task_id": f"t{number // 2}", "reward": passed, "messages": messages}


def lay_files(folder: Path) -> None:
    """Lay down the files that the pages read."""
    write(RATED, folder / "ratings.jsonl")
    write((response.without_labels() for response in ANSWERS), folder / "answers.jsonl")
    (folder / "ratings.csv").write_bytes(table([{**rating(r), "label": int(r.label or 0)} for r in RATED]))
    (folder / "answers.csv").write_bytes(table([rating(r) for r in ANSWERS]))
    (folder / "logs.jsonl").write_bytes(jsonl([log(r) for r in RATED]))
    (folder / "chats.jsonl").write_bytes(jsonl([chat(r) for r in RATED]))
    good, bad = [r for r in RATED if r.label], [r for r in RATED if not r.label]
    write([Preference(*pair) for pair in zip(good, bad, strict=False)], folder / "pairs.jsonl")
    (folder / "runs.jsonl").write_bytes(jsonl([run(number) for number in range(40)]))
    aspects = [{"factual": r.label, "helpful": place % 5 / 4} for place, r in enumerate(RATED)]
    write([replace(r, aspects=a) for r, a in zip(RATED, aspects, strict=True)], folder / "feedback.jsonl")
    write([replace(r, aspects={"factual": r.label}) for r in ANSWERS], folder / "truth.jsonl")


@pytest.mark.parametrize(
    ("page", "commands", "left"),
    [
        ("index", 7, {"scorer", "scores.jsonl", "labelled.jsonl", "report.html", "scores.csv"}),
        ("first-hour", 9, {"scorer", "scores.jsonl", "labelled.jsonl", "report.html"}),
        ("concepts", 3, {"scorer", "scores.jsonl"}),
    ],
)
def test_the_commands_run_one_after_another(
    page: str, commands: int, left: set[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FRACTAL_CACHE", str(tmp_path / "cache"))
    lay_files(tmp_path)
    assert sum(run_shell(block, QUICK) for block in shell_blocks(DOCS / f"{page}.md")) == commands
    assert left <= {path.name for path in tmp_path.iterdir()}


def test_the_example_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FRACTAL_CACHE", str(tmp_path / "cache"))
    page = (DOCS / "index.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    assert len([line for line in example.splitlines() if line]) <= 12
    exec(compile(example, "index.md", "exec"), {"__name__": "example"})
    assert "roc_auc" in capsys.readouterr().out
    assert (tmp_path / "scorer" / "config.json").exists()
    assert json.loads((tmp_path / "scorer" / "config.json").read_text())["data"]["labelled responses"] == 200
