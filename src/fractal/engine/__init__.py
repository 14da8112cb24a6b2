"""Scoring of any size: work cut into units, on every core or on many machines, each unit whole or absent."""

from __future__ import annotations

from fractal.engine.run import RunReport, disaggregate_files, embed_files, score_files

__all__ = ["RunReport", "disaggregate_files", "embed_files", "score_files"]
