"""The blocks of Python on the pages run as they stand, in order; what a page takes as being at hand is made here."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import functools
import importlib.util
import io
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")
pandas = pytest.importorskip("pandas")

from fractal import SentenceScorer, TrainingPlan, make_responses  # noqa: E402
from fractal.encoders import ENCODERS  # noqa: E402
from fractal.encoders.embedding import embed  # noqa: E402
from fractal.evaluation.metrics import METRICS  # noqa: E402
from fractal.mil.aggregations import AGGREGATIONS  # noqa: E402
from fractal.readers import READERS, read  # noqa: E402
from fractal.records.corpus import gather  # noqa: E402
from fractal.scorers.baselines import BASELINES  # noqa: E402
from fractal.writers import WRITERS  # noqa: E402

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SHAPES_ALONE = {"api", "architecture"}  # signatures, not programs
ELSEWHERE = {"index", "notebooks", "studio"}  # in test_start.py, test_examples.py, against servers in tests/server
PAGES = sorted(
    path.stem
    for path in (ROOT / "docs").glob("*.md")
    if path.stem not in SHAPES_ALONE | ELSEWHERE and BLOCK.search(path.read_text(encoding="utf-8"))
)
NEEDS = {  # what a block brings in by a module of ours
    "import MLflow": "mlflow",
    "llama_index_evaluator": "llama_index",
    "ragas_metric": "ragas",
    "scorer_runnable": "langchain_core",
    "from datasets": "datasets",
}


@functools.cache
def at_hand() -> dict[str, Any]:
    """What pages take as being there: rated responses, a fitted scorer, scores, frames, an encoder's block."""
    aspects = [{"factual": float(place % 2), "helpful": place % 5 / 4} for place in range(90)]
    made = [replace(r, aspects=a) for r, a in zip(make_responses(90, task="summaries", seed=1), aspects, strict=True)]
    responses, answers = made[:60], made[60:]
    scorer = SentenceScorer("product", encoder="hashing(dim=64)", recipe="own", plan=TrainingPlan(epochs=3))
    scorer.fit(responses)
    scored = scorer.score_responses(answers)
    rows = [{"reply": r.text, "docs": list(r.context), "label": 1 + 4 * (r.label or 0.0)} for r in made]
    return {
        "dataclasses": dataclasses,
        "scorer": scorer,
        "responses": responses,
        "rated": make_responses(500, task="summaries", seed=3),
        "answers": answers,
        "new_responses": answers,
        "scored": scored,
        "scored_responses": scored,
        "texts": ["Paris is in France.", "It has two million inhabitants."],
        "frame": pandas.DataFrame(rows[:60]),
        "new_frame": pandas.DataFrame(rows[60:]).drop(columns="label"),
        "block": embed(responses, ENCODERS.build("hashing(dim=64)")),
        "corpus": gather(responses),
    }


def lay_files(folder: Path) -> None:
    """Lay down the files that pages read."""
    rows = [{"answer": r.text, "label": 1 + 4 * (r.label or 0.0)} for r in make_responses(20, seed=1)]
    pandas.DataFrame(rows).to_csv(folder / "answers.csv", index=False)
    attributes = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "search", "gen_ai.tool.call.result": "x"}
    span = {"traceId": "t1", "spanId": "s1", "startTimeUnixNano": "1", "attributes": attributes, "resolved": True}
    (folder / "spans.jsonl").write_text(json.dumps(span) + "\n", encoding="utf-8")


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES)
def test_the_blocks_of_a_page_run(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FRACTAL_CACHE", str(tmp_path / "cache"))
    briefly = functools.partial(TrainingPlan, epochs=4)  # where a block names no plan: its words are what is tested
    monkeypatch.setattr("fractal.scorers.sentence.TrainingPlan", briefly)
    for registry in (AGGREGATIONS, BASELINES, ENCODERS, METRICS, READERS, WRITERS):
        registry.names()  # plugins are loaded, and stay
        monkeypatch.setattr(registry, "_made", dict(registry._made))  # what a page registers is of that page alone
    lay_files(tmp_path)
    names = {"__name__": page, **({} if page == "integrations" else at_hand())}
    names["scorer"] = copy.deepcopy(names.get("scorer"))  # a page may change it
    blocks = BLOCK.findall((ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8"))
    ran = 0
    for block in blocks:
        absent = [library for word, library in NEEDS.items() if word in block and not importlib.util.find_spec(library)]
        if absent:
            continue
        with contextlib.redirect_stdout(io.StringIO()):
            exec(compile(block, f"{page}.md", "exec"), names)
        ran += 1
    assert ran >= len(blocks) - len(NEEDS)
    assert ran


def test_the_lines_of_the_first_hour_are_read_as_it_says(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "first-hour.md").read_text(encoding="utf-8")
    chats, pairs, runs = re.findall(r"^```json\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    for name, lines in (("chats", chats), ("pairs", pairs), ("runs", runs)):
        (tmp_path / f"{name}.jsonl").write_text(lines, encoding="utf-8")
    rated = list(read(tmp_path / "chats.jsonl"))
    assert [(one.label, one.query != "", len(one.sentences)) for one in rated] == [(1.0, True, 2), (0.0, True, 2)]
    (pair,) = read(tmp_path / "pairs.jsonl")
    assert (pair.better.sentences[0].text, pair.worse.sentences[0].text) == ("In France.", "In Spain.")
    (run,) = read(tmp_path / "runs.jsonl", "openai_messages")
    assert (run.label, len(run.sentences)) == (1.0, 2)
