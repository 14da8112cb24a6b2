"""The page of the Python interface: fresh, and with a word on every option that a user may set."""

from __future__ import annotations

import dataclasses
import inspect
from pathlib import Path

import pytest

pytest.importorskip("torch")

from docs.make_api import document, options

import fractal

ROOT = Path(__file__).parents[2]


def test_the_page_of_the_docs_is_fresh():
    stale = "run: python docs/make_api.py docs/api.md"
    assert (ROOT / "docs" / "api.md").read_text(encoding="utf-8") == document(), stale


def test_every_public_name_has_its_entry():
    page = document()
    assert all(f"\n## {name}\n" in page for name in fractal.__all__)


@pytest.mark.parametrize(
    "kind", [fractal.SentenceScorer, fractal.AspectScorer, fractal.TrainingPlan, fractal.SelfTraining]
)
def test_every_option_is_described_where_it_is_set(kind):
    described = options(kind)
    assert list(described) == [name for name in inspect.signature(kind).parameters if name != "self"]
    assert all(len(text) > 15 and text.endswith(".") for text in described.values())
    assert all(name in inspect.getdoc(kind) for name in described)  # what help() shows


def test_notes_beside_fields_count_as_descriptions():
    assert "never fall on both sides" in options(fractal.Response)["group"]
    assert set(options(fractal.Response)) <= {field.name for field in dataclasses.fields(fractal.Response)}
