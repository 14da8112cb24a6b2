"""One self-contained HTML page about scored responses, and the fragment of it that a notebook shows."""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from fractal.errors import BadData
from fractal.files import open_target
from fractal.records import ScoredResponse
from fractal.reports import charts, palette
from fractal.reports.payload import embeddable_json, pieces, report_data
from fractal.reports.summary import Summary, finds, label_of, summarise
from fractal.reports.traces import run_report

if TYPE_CHECKING:
    from jinja2 import Environment

AREA = "held-out AUC"  # among the series of a history the one that is no cost
SCRIPTS = ("passages.js", "report.js")


def render_report(
    scored: Iterable[ScoredResponse],
    *,
    title: str = "Sentence scores",
    evaluation: Any = None,
    checks: Iterable[Any] | Mapping[str, Iterable[Any]] = (),
    history: Iterable[Any] = (),
    threshold: float = 0.5,
) -> str:
    """Return a page that needs no network: overview, metrics, checks, and every response with coloured sentences.

    `evaluation` is an evaluation, or a mapping from aspect to evaluation. A check has a `name`, a `verdict` (ok, warn
    or fail), a `sentence` and a `value`; those of one `group` stand together, and `checks` may map aspects to them.
    `history` holds the epochs of a training. A sentence is flagged where its score lies below `threshold`.
    """
    items = list(scored)
    if not 0.0 < threshold < 1.0:
        raise BadData(f"found {threshold}: a threshold lies between 0 and 1", field="threshold")
    if not items:
        raise BadData("there is no scored response to report on")
    script = Markup("\n".join(_asset(name) for name in SCRIPTS))
    style = Markup(palette.stylesheet() + _asset("report.css"))
    data = report_data(items, threshold)
    series = history_series(history)
    page = (
        _environment()
        .get_template("report.html")
        .render(
            title=_writable(title),
            script=script,
            style=style,
            policy=_policy(script, style),
            data=Markup(embeddable_json(data)),
            summary=summarise(items, threshold),
            by_aspect=_by_aspect(items, data["aspects"], threshold),
            evaluations=_evaluations(evaluation),
            checks=_grouped(checks),
            history=series,
            area={AREA: series.pop(AREA)} if AREA in series else {},
            steps=range(len(palette.LIGHT)),
            labelled=any(label_of(item) is not None for item in items),
            runs=run_report(items, threshold),
        )
    )
    return _writable(page)


def write_report(path: str | os.PathLike[str], scored: Iterable[ScoredResponse], **options: Any) -> Path:
    """Write the page of `render_report`; the file appears whole or not at all."""
    page = render_report(scored, **options).encode()
    with open_target(str(path)) as stream:
        stream.write(page)
    return Path(path)


def fragment(scored: ScoredResponse, threshold: float = 0.5) -> str:
    """Return one scored response as coloured sentences, for a notebook: no script, and readable on any background."""
    cut = pieces(scored.response)
    spread = scored.sentence_spread or (None,) * len(scored.sentence_scores)
    parts = [
        {
            "gap": gap,
            "text": text,
            "score": score,
            "spread": wide,
            "step": palette.step(score, threshold, finds(scored)),
        }
        for gap, text, score, wide in zip(cut[::2], cut[1::2], scored.sentence_scores, spread, strict=False)
    ]
    template = _environment().get_template("fragment.html")
    return _writable(
        template.render(
            scored=scored,
            parts=parts,
            tail=cut[-1],
            colours=palette.LIGHT,
            ink=palette.INK["light"],
            middle=palette.MIDDLE,
        )
    )


def evaluation_fragment(evaluation: Any) -> str:
    """Return the table of an evaluation, for a notebook."""
    return _writable(_environment().get_template("evaluation.html").render(evaluation=evaluation))


def card_fragment(title: str, facts: Mapping[str, Any]) -> str:
    """Return names and values as a table, for a notebook: what a scorer is and how it did."""
    return _writable(_environment().get_template("card.html").render(title=title, facts=facts))


def history_series(history: Iterable[Any]) -> dict[str, list[tuple[float, float]]]:
    """Return each part of the training cost by epoch, from epochs as training tells them or from mappings.

    The held-out AUC, where one is told, stands under `AREA`. Trainings that follow each other stand one behind the
    other.
    """
    series: dict[str, list[tuple[float, float]]] = {}
    passed = last = 0.0
    for number, epoch in enumerate(history, 1):
        row = epoch if isinstance(epoch, Mapping) else {**vars(epoch)}
        values = {**row.get("parts", {}), "held-out responses": row.get("held_out")} if "parts" in row else dict(row)
        values[AREA] = values.pop("auc", row.get("auc"))
        at = float(row.get("epoch", number))
        if at < last:  # a further training that counts its epochs anew
            passed += last
        last = at
        for name, value in values.items():
            if name != "epoch" and isinstance(value, int | float) and value == value:
                series.setdefault(str(name), []).append((passed + at, float(value)))
    return series


def _evaluations(evaluation: Any) -> list[tuple[str, Any]]:
    if evaluation is None:
        return []
    return list(evaluation.items()) if isinstance(evaluation, Mapping) else [("", evaluation)]


def _grouped(checks: Iterable[Any] | Mapping[str, Iterable[Any]]) -> list[tuple[str, dict[str, list[Any]]]]:
    """Return the checks of each aspect by their groups; what has no group stands under none."""
    by_aspect: list[tuple[str, dict[str, list[Any]]]] = []
    for aspect, findings in (checks if isinstance(checks, Mapping) else {"": checks}).items():
        groups: dict[str, list[Any]] = {}
        for check in findings:
            groups.setdefault(getattr(check, "group", ""), []).append(check)
        if groups:
            by_aspect.append((aspect, groups))
    return by_aspect


def _by_aspect(items: Sequence[ScoredResponse], aspects: Sequence[str], threshold: float) -> list[Summary]:
    if len(aspects) < 2:
        return []
    return [summarise([item for item in items if item.aspect == aspect], threshold, aspect) for aspect in aspects]


def _environment() -> Environment:
    """The templates; every value that is not marked safe is escaped."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("fractal.reports"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["charts"] = charts
    return environment


def _asset(name: str) -> str:
    return files("fractal.reports").joinpath("templates", name).read_text(encoding="utf-8")


def _policy(script: str, style: str) -> str:
    """What the browser may do for this page: run this one script and this one style, and reach nothing else."""

    def allowed(text: str) -> str:
        return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"

    rules = f"default-src 'none'; script-src {allowed(script)}; style-src {allowed(style)}; img-src data:"
    return f"{rules}; base-uri 'none'; form-action 'none'"


def _writable(text: str) -> str:
    """Half characters cannot be written as UTF-8; a mark stands in their place."""
    return text.encode("utf-8", "replace").decode("utf-8") if any("\ud800" <= c <= "\udfff" for c in text) else text
