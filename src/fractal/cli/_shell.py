"""Errors of the library in the syntax of the shell: what Python would take is said as the flag that does it."""

from __future__ import annotations

import re
import shlex

__all__ = ["in_shell_words"]

TEXT = r"""['"]([^'"]*)['"]"""
FLAGS = {"label_scale": "scale", "scale": "scale", "priors": "prior"}
WITH_FLAGS = (
    *("aggregation", "recipe", "encoder", "splitter", "priors", "on_error", "label_scale", "scale", "levels", "reader"),
    "rejects",
)
OPTIONS = ("learn_from", "start", "directions", "gold_weight", "members", "folds", "epochs", "seed")
COLUMNS = re.compile(rf"columns=\{{{TEXT}: {TEXT}\}}")
WORDS = re.compile(rf"label_words=\{{{TEXT}: {TEXT}\}}")
FLAGGED = re.compile(rf"""\b({"|".join(WITH_FLAGS)})=(?:{TEXT}|([\w.]+(?:\.\.[\w.]+)?))""")
SET = re.compile(rf"""\b({"|".join(OPTIONS)})=(?:{TEXT}|([\w.]+))""")
ASPECTS = re.compile(rf"aggregations=\{{{TEXT}: {TEXT}\}}")


def in_shell_words(text: str) -> str:
    """Return an error with the flags of the command line in place of Python's arguments."""
    text = COLUMNS.sub(lambda m: f"--column {shlex.quote(f'{m[1]}={m[2]}')}", text)
    text = WORDS.sub(lambda m: f"--label {shlex.quote(f'{m[2]}={m[1]}')}", text)
    text = ASPECTS.sub(lambda m: f"--aspect {shlex.quote(f'{m[1]}={m[2]}')}", text)
    text = FLAGGED.sub(lambda m: f"--{_flag(m[1])} {shlex.quote(m[2] or m[3])}", text)
    return SET.sub(lambda m: f"--set {m[1]}={shlex.quote(m[2] or m[3])}", text)


def _flag(name: str) -> str:
    return FLAGS.get(name, name).replace("_", "-")
