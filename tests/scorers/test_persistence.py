"""Saved scorers: those of earlier formats still load, and re-saving changes nothing."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from fractal import Response, load_scorer  # noqa: E402
from fractal.errors import BadFolder  # noqa: E402
from fractal.scorers import persistence  # noqa: E402
from fractal.scorers.runtime import load_runtime  # noqa: E402

OLD = Path(__file__).parents[1] / "data" / "saved_format_1"  # written before format 2, with the scores of that time
EXPECTED: dict[str, Any] = json.loads((OLD / "expected.json").read_text(encoding="utf-8"))
RESPONSES = [
    Response.from_sentences(r["id"], r["sentences"], query=r["query"], context=tuple(r["context"]))
    for r in EXPECTED["responses"]
]


@pytest.mark.parametrize("name", list(EXPECTED["scores"]))
@pytest.mark.parametrize("load", [load_scorer, load_runtime])
def test_scorers_of_format_1_load_with_equal_scores(name: str, load: Any) -> None:
    tolerance = 1e-6 if load is load_scorer else 1e-5  # sums are taken in another order, by numpy in other steps
    scored = load(OLD / name, cache=False).score_responses(RESPONSES)
    assert len(scored) == len(EXPECTED["scores"][name])
    for record, (aspect, whole, scores, spread) in zip(scored, EXPECTED["scores"][name], strict=True):
        assert record.aspect == aspect
        assert record.response_score == pytest.approx(whole, abs=tolerance)
        assert list(record.sentence_scores) == pytest.approx(scores, abs=tolerance)
        assert list(record.sentence_spread) == pytest.approx(spread, abs=tolerance)


@pytest.mark.parametrize("name", list(EXPECTED["scores"]))
def test_a_scorer_that_is_saved_again_keeps_its_plan(name: str, tmp_path: Path) -> None:
    load_scorer(OLD / name, cache=False).save_pretrained(tmp_path / "again")
    before, after = (json.loads((folder / "config.json").read_text()) for folder in (OLD / name, tmp_path / "again"))
    plan = (
        before["plan"]
        .replace("from_prior", "from_initial")
        .replace("topic_control=True", "topic_control=True, shrink=False, few_ratings=False, so_far=False")
    )
    assert after["plan"] == plan
    assert "hidden=(8,)" in after["plan"]


@pytest.mark.parametrize(
    "spec",
    [
        "precomputed(path='vectors.npz')",
        "static(model='/etc')",
        "static(model='../other')",
        "sentence_transformers(model='team/model')",
        "sentence_transformers(model='team/model', revision='main')",
    ],
)
def test_a_scorer_from_the_hub_names_no_file_of_this_machine_and_nothing_that_may_change(
    spec: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = shutil.copytree(OLD / "one_label", tmp_path / "downloaded")
    config = json.loads((folder / "config.json").read_text())
    monkeypatch.setattr(persistence, "_download", lambda repo, revision: folder)
    assert persistence.load_folder("team/scorer").config["encoder"] == config["encoder"]
    (folder / "config.json").write_text(json.dumps({**config, "encoder": spec}))
    with pytest.raises(BadFolder, match="names the encoder"):
        persistence.load_folder("team/scorer")


@pytest.mark.parametrize(
    ("name", "spec"), [("splitter", "nothing(like=1)"), ("encoder", "hashing(dim=1)"), ("splitter", None)]
)
def test_a_folder_whose_splitter_or_encoder_cannot_be_built_is_refused(
    name: str, spec: str | None, tmp_path: Path
) -> None:
    folder = shutil.copytree(OLD / "one_label", tmp_path / "altered")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, name: spec}))
    with pytest.raises(BadFolder, match=f"names no {name}"):
        persistence.load_folder(folder)
