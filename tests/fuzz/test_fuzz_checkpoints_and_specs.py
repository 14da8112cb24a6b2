"""Altered checkpoints and hostile specifications: an error of the library's own, never a raw one, never silence."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from fractal import SentenceScorer, make_responses  # noqa: E402
from fractal.encoders import ENCODERS  # noqa: E402
from fractal.errors import BadFolder, FractalError  # noqa: E402
from fractal.features import FEATURES  # noqa: E402
from fractal.mil.aggregations import AGGREGATIONS  # noqa: E402
from fractal.mil.training.checkpoints import load_checkpoint, save_checkpoint  # noqa: E402
from fractal.mil.training.plan import TrainingPlan  # noqa: E402
from fractal.records.splitting import SPLITTERS  # noqa: E402
from fuzz.support import Run, altered_bytes, cases  # noqa: E402

PIECES = ("softmin", "hashing", "(", ")", "temperature=", "dim=", "1e999", "-1", "None", "'", '"', ",", "[", "{", "\0")
MORE = ("**x", "__import__('os')", "lambda: 0", "x.y", "10**9", "é", "\ud800", " ", "=" * 30, "(" * 300, "0x", "True")


STATE = {"epoch": 2, "history": []}
TENSORS = {"a": torch.arange(40.0), "b": torch.ones(3, dtype=torch.long)}


def test_an_altered_checkpoint_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "run.safetensors"
    save_checkpoint(path, "me", STATE, TENSORS)
    whole = path.read_bytes()
    run = Run("checkpoints")
    for number, draw in cases():
        content = altered_bytes(draw, whole)
        path.write_bytes(content)
        with run.case(f"case {number}"):
            try:
                state, tensors = load_checkpoint(path, "me") or ({}, {})
            except BadFolder:
                run.count("refused")
                continue
            run.count("read, nothing altered" if content == whole else "read, no value altered")
            assert state == STATE  # a blank of the header, say
            assert {name: value.tolist() for name, value in tensors.items()} == {
                n: v.tolist() for n, v in TENSORS.items()
            }
    run.close()


def test_a_training_is_not_taken_up_from_altered_checkpoints(tmp_path: Path) -> None:
    """A file of another head under this one's name, an older one, an empty one, a folder: refused or begun anew."""
    run = Run("checkpoints of a training")
    plan = TrainingPlan(epochs=2, members=2, folds=2, hidden=(4,))
    rated = make_responses(24, task="summaries", seed=1)

    def fitted(folder: Path, plan: TrainingPlan) -> Any:
        scorer = SentenceScorer(encoder="hashing(dim=32)", recipe="own", plan=plan, cache=False, aggregation="min")
        return scorer.fit(rated, checkpoints=folder)

    fitted(tmp_path / "whole", plan)
    wanted = [list(one.sentence_scores) for one in fitted(tmp_path / "whole", plan).score_responses(rated[:5])]
    files = sorted((tmp_path / "whole").rglob("*.safetensors"))
    for number, draw in cases(8):
        folder = tmp_path / "altered"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(tmp_path / "whole", folder)
        path = folder / draw.choice(files).relative_to(tmp_path / "whole")
        how = draw.choice(["bytes", "another", "empty", "gone", "folder"])
        if how == "bytes":
            path.write_bytes(altered_bytes(draw, path.read_bytes()))
        elif how == "another":
            path.write_bytes(draw.choice(files).read_bytes())
        elif how == "empty":
            path.write_bytes(b"")
        else:
            path.unlink()
            if how == "folder":
                path.mkdir()
        with run.case(f"case {number}, {how}"):
            try:
                scorer = fitted(folder, plan)
            except FractalError:
                run.count(f"{how}: refused")
                continue
            run.count(f"{how}: taken up")
            assert [list(one.sentence_scores) for one in scorer.score_responses(rated[:5])] == wanted
    run.close()


@pytest.mark.parametrize("registry", [AGGREGATIONS, ENCODERS, FEATURES, SPLITTERS], ids=lambda r: r.kind)
def test_a_hostile_specification_builds_or_is_refused(registry) -> None:  # type: ignore[no-untyped-def]
    run = Run(f"specifications of {registry.kind}s")
    for number, draw in cases(50):
        spec = draw.choice([*registry.names(), ""]) + "".join(draw.choices(PIECES + MORE, k=draw.randrange(8)))
        with run.case(f"case {number}, {spec!r}"):
            try:
                registry.build(spec)
                run.count("built")
            except FractalError:
                run.count("refused")
    run.close()
