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
from fractal.reports.by_field import slice_tables
from fractal.reports.explain import explain
from fractal.reports.fields import carried_fields
from fractal.reports.highlights import FEWEST, recurring_sentences, standouts
from fractal.reports.payload import anchor, embeddable_json, pieces, report_data
from fractal.reports.rivals import MARGIN, Standing, standings
from fractal.reports.summary import WIDEST_GAP, Summary, label_of, step_alone, summarise
from fractal.reports.traces import run_report
from fractal.reports.training import training_curves

if TYPE_CHECKING:
    from jinja2 import Environment

SHOWN_AT_ONCE = 10  # responses in a notebook
SCRIPTS = ("passages.js", "aims.js", "report.js", "overview.js")
MOST_RECURRING = 10  # that the page shows; how many more there are is said


def render_report(
    scored: Iterable[ScoredResponse],
    *,
    title: str = "Sentence scores",
    evaluation: Any = None,
    checks: Iterable[Any] | Mapping[str, Iterable[Any]] = (),
    history: Iterable[Any] = (),
    threshold: float = 0.5,
    by: str = "",
    by_evaluation: Mapping[str, Mapping[str, Any]] | None = None,
    notes: Iterable[str] = (),
) -> str:
    """Return a page that needs no network: overview, metrics, checks, and every response with coloured sentences.

    `evaluation` is an evaluation, or a mapping from aspect to evaluation. A check has a `name`, a `verdict` (ok, warn
    or fail), a `sentence` and a `value`; those of one `group` stand together, and `checks` may map aspects to them.
    `history` holds the epochs of a training. A sentence is flagged where its score lies below `threshold`.
    `by` names a field that responses carry: each of its values has a row, with `by_evaluation[aspect][value]` where
    that is an evaluation. `notes` are said under the overview: what was left out, say.
    """
    items = list(scored)
    if not 0.0 < threshold < 1.0:
        raise BadData(f"found {threshold}: a threshold lies between 0 and 1", field="threshold")
    if not items:
        raise BadData("there is no scored response to report on")
    script = Markup("\n".join(_asset(name) for name in SCRIPTS))
    style = Markup(palette.stylesheet() + _asset("report.css"))
    standing = standings(items)
    fields = carried_fields(items, by)
    data = report_data(items, threshold, standing, fields.filters)
    anchors = _anchors(items, len(data["aspects"]) > 1)
    repeated = recurring_sentences(items, standing)
    page = (
        _environment()
        .get_template("report.html")
        .render(
            title=_writable(title),
            script=script,
            style=style,
            policy=_policy(script, style),
            data=Markup(embeddable_json(data)),
            summary=summarise(items, threshold, standing=standing),
            by_aspect=_by_aspect(items, standing, data["aspects"], threshold),
            evaluations=_evaluations(evaluation),
            checks=_grouped(checks),
            training=training_curves(history),
            by=by,
            slices=slice_tables(items, by, threshold, by_evaluation or {}, standing) if by else (),
            standouts=standouts(items, standing),
            recurring=repeated[:MOST_RECURRING],
            more_recurring=len(repeated) - len(repeated[:MOST_RECURRING]),
            fewest=FEWEST,
            anchor_of=lambda item: anchors[id(item)],
            fields=fields,
            notes=tuple(map(_writable, notes)),
            steps=range(len(palette.LIGHT)),
            middle=palette.MIDDLE,
            margin=MARGIN,
            threshold=threshold,
            labelled=any(label_of(item) is not None for item in items if not item.relative),
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
            "step": step_alone(scored, score, threshold),
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


def fragments(scored: Sequence[ScoredResponse], threshold: float = 0.5, limit: int = SHOWN_AT_ONCE) -> str:
    """Return the first scored responses as coloured sentences, for a notebook, and say how many more there are."""
    shown = "".join(fragment(item, threshold) for item in scored[:limit])
    rest = len(scored) - min(limit, len(scored))
    return shown + (f"<p>… and {rest:,} more of {len(scored):,}</p>" if rest else "" if shown else "<p>none</p>")


def evaluation_fragment(evaluation: Any) -> str:
    """Return the table of an evaluation, for a notebook."""
    return _writable(_environment().get_template("evaluation.html").render(evaluation=evaluation))


def card_fragment(title: str, facts: Mapping[str, Any]) -> str:
    """Return names and values as a table, for a notebook: what a scorer is and how it did."""
    return _writable(_environment().get_template("card.html").render(title=title, facts=facts))


def _anchors(items: Sequence[ScoredResponse], several: bool) -> dict[int, str]:
    return {id(item): anchor(item, place, several) for place, item in enumerate(items)}


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


def _by_aspect(
    items: Sequence[ScoredResponse], standing: Sequence[Standing | None], aspects: Sequence[str], threshold: float
) -> list[Summary]:
    if len(aspects) < 2:
        return []
    summaries = []
    for aspect in aspects:
        places = [place for place, item in enumerate(items) if item.aspect == aspect]
        chosen, among = [items[place] for place in places], [standing[place] for place in places]
        summaries.append(summarise(chosen, threshold, aspect, among))
    return summaries


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
    environment.globals |= {
        "charts": charts,
        "explain": explain,
        "step": palette.step,
        "gap_step": palette.gap_step,
        "widest_gap": WIDEST_GAP,
    }
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
