"""A scorer's folder names no file of this machine but its own, and no model that may change, unless it is trusted."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from fractal import Response, SentenceScorer, load_scorer  # noqa: E402
from fractal.cli import main  # noqa: E402
from fractal.errors import BadData, BadFolder  # noqa: E402
from fractal.mil.training.plan import TrainingPlan  # noqa: E402
from fractal.scorers import trust  # noqa: E402
from fractal.scorers.persistence import load_folder, save_folder  # noqa: E402
from fractal.scorers.runtime import load_runtime  # noqa: E402
from fractal.scorers.trust import TRUSTED, pinned_spec  # noqa: E402
from support.encoder_models import vectors_file  # noqa: E402

OLD = Path(__file__).parents[1] / "data" / "saved_format_1" / "one_label"
HEX = "0123456789abcdef0123456789abcdef01234567"
LOADERS = {
    "load_scorer": load_scorer,
    "from_pretrained": SentenceScorer.from_pretrained,
    "load_runtime": load_runtime,
    "load_folder": load_folder,
}


@pytest.fixture
def scorer(tmp_path: Path) -> Path:
    return Path(shutil.copytree(OLD, tmp_path / "scorer"))


def naming(folder: Path, spec: str) -> Path:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "encoder": spec}))
    return folder


@pytest.mark.parametrize("load", list(LOADERS))
@pytest.mark.parametrize(
    "spec",
    [
        "precomputed(path='vectors.npz')",
        "precomputed(path='{outside}/vectors.npz')",
        "precomputed(path='../outside/vectors.npz')",
        "precomputed(path='link.npz')",
        "precomputed(path='linked/vectors.npz')",
        "precomputed(path='~/vectors.npz')",
        "static(model='{outside}')",
        "static(model='../outside')",
        "static(model='./nothing')",
        "static(model='linked')",
        "static(model='holds_link')",
        "sentence_transformers(model='{outside}')",
        "transformer(model='{outside}')",
        "sentence_transformers(model='team/model')",
        "transformer(model='team/model', revision='main')",
        "static(model='team/model')",
    ],
)
def test_what_leads_out_of_the_folder_or_may_change_is_refused_unless_trusted(
    scorer: Path, spec: str, load: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    outside = scorer.parent / "outside"
    outside.mkdir()
    vectors_file(outside)
    (scorer / "link.npz").symlink_to(outside / "vectors.npz")
    (scorer / "linked").symlink_to(outside)
    (scorer / "holds_link").mkdir()
    (scorer / "holds_link" / "model.safetensors").symlink_to(outside / "vectors.npz")
    naming(scorer, spec.format(outside=outside))
    with pytest.raises(BadFolder, match=r"names the encoder .*--trust-paths"):
        LOADERS[load](scorer)
    if load != "load_folder":  # which builds no encoder
        return
    assert load_folder(scorer, trust_paths=True).config["encoder"] == spec.format(outside=outside)
    monkeypatch.setenv(TRUSTED, "1")
    assert load_folder(scorer).config["encoder"] == spec.format(outside=outside)
    with pytest.raises(BadFolder):
        load_folder(scorer, trust_paths=False)


@pytest.mark.parametrize(
    "spec", ["hashing", "minilm", "static", "fast", f"transformer(model='team/model', revision='{HEX}')"]
)
def test_known_names_and_pinned_models_need_no_trust(scorer: Path, spec: str) -> None:
    assert load_folder(naming(scorer, spec)).config["encoder"] == spec


def test_what_stands_inside_the_folder_is_read_from_there(
    scorer: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (scorer / "vectors").mkdir()
    path = vectors_file(scorer / "vectors")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    spec = load_folder(naming(scorer, f"precomputed(path='vectors/{path.name}')")).config["encoder"]
    assert spec == f"precomputed(path={str(path.resolve())!r})"
    with pytest.raises(BadFolder):
        load_folder(naming(scorer, "precomputed(path='vectors/../../scorer/vectors/x.npz')"))


def test_what_the_scorer_carries_needs_no_place(tmp_path: Path) -> None:
    """Token vectors travel with the scorer; a name beside them is read by nobody. Of other encoders it is."""
    saved = load_folder(OLD)
    table = {"encoder.vectors": np.zeros((3, 4), np.float32), "encoder.tokenizer": np.zeros(2, np.uint8)}
    for spec, refused in (("static(model='/nowhere')", False), ("precomputed(path='/nowhere')", True)):
        config = {name: value for name, value in saved.config.items() if name != "head_sha256"} | {"encoder": spec}
        save_folder(tmp_path / "scorer", type(saved)(config, {**saved.arrays, **table}))
        if refused:
            with pytest.raises(BadFolder, match="names"):
                load_folder(tmp_path / "scorer")
        else:
            assert load_folder(tmp_path / "scorer").config["encoder"] == spec


def test_a_saved_scorer_is_pinned_to_what_this_machine_has_from_the_hub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = pytest.importorskip("huggingface_hub")
    asked: list[Any] = []

    def snapshot(model: str, revision: str | None, local_files_only: bool) -> str:
        asked.append((model, revision, local_files_only))
        if model == "team/absent":
            raise hub.errors.LocalEntryNotFoundError("no")
        return str(tmp_path / "snapshots" / HEX)

    monkeypatch.setattr(hub, "snapshot_download", snapshot)
    assert pinned_spec("transformer(model='team/model')") == f"transformer(model='team/model', revision='{HEX}')"
    assert pinned_spec("transformer(model='team/absent')") == "transformer(model='team/absent')"
    for spec in ("hashing(dim=64)", "static(model='team/model')", f"transformer(model='a/b', revision='{HEX}')"):
        assert pinned_spec(spec) == spec
    assert pinned_spec(f"transformer(model={str(tmp_path)!r})") == f"transformer(model={str(tmp_path)!r})"
    assert asked == [("team/model", None, True), ("team/absent", None, True)]


def test_the_command_line_reads_such_a_folder_where_it_is_told_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv(TRUSTED, raising=False)
    texts = [f"Sentence {number}." for number in range(8)]
    np.savez(tmp_path / "vectors.npz", texts=texts, vectors=np.eye(8, dtype=np.float32))
    rated = [Response.from_sentences(f"r{n}", [texts[n], texts[(n + 1) % 8]], label=float(n < 4)) for n in range(8)]
    plan = TrainingPlan(epochs=1, members=2, folds=2, hidden=(4,))
    encoder = f"precomputed(path={str(tmp_path / 'vectors.npz')!r})"
    made = SentenceScorer(encoder=encoder, recipe="own", plan=plan, cache=False, aggregation="min")
    made.fit(rated).save_pretrained(tmp_path / "scorer")
    (tmp_path / "data.jsonl").write_text(json.dumps({"id": "a", "sentences": texts[:2]}) + "\n")
    args = ["score", str(tmp_path / "scorer"), str(tmp_path / "data.jsonl"), "--no-cache", "-q"]

    def ended(*more: str) -> int:
        with pytest.raises(SystemExit) as caught:
            main([*args, *more])
        return int(caught.value.code or 0)

    assert ended("-o", str(tmp_path / "a.jsonl")) == 2
    assert "--trust-paths" in capsys.readouterr().err
    assert not (tmp_path / "a.jsonl").exists()
    assert ended("-o", str(tmp_path / "a.jsonl"), "--trust-paths") == 0
    shards = tmp_path / "shards"
    shards.mkdir()
    assert ended("-o", f"{shards}/", "--workers", "2") == 2  # nothing stays trusted after a command
    assert ended("-o", f"{shards}/", "--workers", "2", "--trust-paths") == 0
    assert TRUSTED not in os.environ


def test_a_path_that_is_trusted_and_holds_nothing_is_a_plain_error(scorer: Path) -> None:
    loaded = load_runtime(naming(scorer, "precomputed(path='/nowhere.npz')"), trust_paths=True)
    with pytest.raises(BadData, match="no such file"):
        loaded.score_responses([Response.from_sentences("a", ["One."])])


def test_the_variable_has_one_name() -> None:
    from fractal.cli import _options

    assert _options.TRUSTED == trust.TRUSTED
