"""The HTML report, its parts and the terminal's view: structure, contrast, numbers, and texts that mean harm."""

import hashlib
import io
import json
import re
from base64 import b64encode
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from fractal.errors import BadData
from fractal.evaluation import compare, evaluate
from fractal.evaluation.findings import Finding
from fractal.printable import visible
from fractal.records import Response, ScoredResponse
from fractal.reports import (
    card_fragment,
    charts,
    evaluation_fragment,
    fragment,
    fragments,
    palette,
    render_report,
    show,
    write_report,
)
from fractal.reports.payload import embeddable_json, pieces, report_data
from fractal.reports.summary import summarise
from fractal.reports.terminal import worst_first
from fractal.reports.training import history_series, training_curves
from support.scored_samples import FINDINGS, HOSTILE, hostile, make_scored

GOLDEN = Path(__file__).parents[1] / "data" / "golden" / "report.txt"
HISTORY = [
    {"epoch": epoch, "parts": {"response": 1 / epoch}, "held_out": 1.2 / epoch, "auc": 1 - 0.5 / epoch}
    for epoch in range(1, 5)
]


class Outline(HTMLParser):
    """The elements of a page with their ids, classes and words, data and drawings left out."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []
        self.stack: list[str] = []
        self.tags: Counter[str] = Counter()
        self.attributes: list[tuple[str, str, str | None]] = []

    def handle_starttag(self, tag, attrs):
        self.tags[tag] += 1
        self.attributes += [(tag, name, value) for name, value in attrs]
        known = dict(attrs)
        names = "".join(f"#{known['id']}" if "id" in known else "") + "".join(
            f".{name}" for name in (known.get("class") or "").split()
        )
        if "svg" not in self.stack:
            self.lines.append("  " * len(self.stack) + tag + names)
        if tag not in {"meta", "link", "input"}:
            self.stack.append(tag)

    def handle_endtag(self, tag):
        assert self.stack.pop() == tag, f"{tag} closes what is not open"

    def handle_data(self, data):
        if data.strip() and not {"svg", "style", "script"} & set(self.stack):
            self.lines.append("  " * len(self.stack) + " ".join(data.split()))


def outline(page: str) -> Outline:
    parsed = Outline()
    parsed.feed(page)
    assert not parsed.stack
    return parsed


def data_of(page: str) -> dict:
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)[1])


def full_page() -> str:
    scored = make_scored(12, 1)
    return render_report(
        scored,
        title="Twelve answers",
        evaluation=evaluate(scored, ["roc_auc", "mae"], bootstrap=20),
        checks=FINDINGS,
        history=HISTORY,
    )


def test_structure_is_the_golden_one():
    found = "\n".join(outline(full_page()).lines) + "\n"
    if not GOLDEN.exists():
        GOLDEN.parent.mkdir(parents=True, exist_ok=True)
        GOLDEN.write_text(found, encoding="utf-8")
        pytest.fail(f"{GOLDEN.name} was missing and is written anew: read it, commit it, run again")
    assert found == GOLDEN.read_text(encoding="utf-8"), f"delete {GOLDEN.name} and run again where the change is meant"


def test_nothing_is_fetched_and_only_the_own_script_may_run():
    page = full_page()
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', page)[1].replace("&#39;", "'")
    assert policy.startswith("default-src 'none';")
    assert "unsafe" not in policy
    for tag, rule in (("script", "script-src"), ("style", "style-src")):
        text = re.search(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)[1]
        assert f"{rule} 'sha256-{b64encode(hashlib.sha256(text.encode()).digest()).decode()}'" in policy
    reached = [value for _, name, value in outline(page).attributes if name in {"src", "href", "action", "srcset"}]
    assert reached
    assert all(value.startswith("#") or value == "data:," for value in reached)
    assert not re.search(r"url\(|@import|https?://|fetch\(|XMLHttpRequest|innerHTML", page)


def test_hostile_texts_stay_texts():
    plain = outline(render_report(make_scored(1), title="a", checks=FINDINGS))
    bad = SimpleNamespace(name=HOSTILE[0], verdict=HOSTILE[1], sentence=HOSTILE[2], value=HOSTILE[3])
    page = render_report([hostile()], title=HOSTILE[1], checks=[*FINDINGS, bad], history=[{HOSTILE[0]: 1.0}])
    meant = outline(page)
    assert meant.tags["script"] == plain.tags["script"] == 2
    assert meant.tags["img"] == 0
    assert not [name for _, name, _ in meant.attributes if name.startswith("on")]
    assert data_of(page)["items"][0]["pieces"][1::2] == list(HOSTILE)
    page.encode("utf-8")
    assert "\x00" not in page


@given(st.recursive(st.text() | st.floats(0, 1) | st.none(), lambda inner: st.lists(inner, max_size=4)))
def test_embedded_data_come_back_and_never_close_their_element(value):
    text = embeddable_json(value)
    assert json.loads(text) == value
    assert not set("<>&\u2028\u2029") & set(text)
    text.encode("utf-8")


@given(st.lists(st.text(min_size=1, max_size=5), min_size=1, max_size=5), st.text(" \n", max_size=3))
def test_pieces_put_together_are_the_text(sentences, tail):
    made = Response.from_sentences("a", sentences)
    response = Response("a", made.sentences, made.text + tail)
    cut = pieces(response)
    assert "".join(cut) == response.text
    assert cut[1::2] == sentences


def test_shared_contexts_are_written_once():
    scored = make_scored(40)
    data = report_data(scored, 0.5)
    assert len(data["contexts"]) == len({item.response.context for item in scored})
    assert [tuple(data["contexts"][item["context"]]) for item in data["items"]] == [
        item.response.context for item in scored
    ]


def test_numbers_of_the_overview_are_right():
    response = Response.from_sentences("a", ["One.", "Two.", "Three."], labels=[1, 0, None], label=0)
    other = Response.from_sentences("b", ["Four."], label=1)
    scored = [ScoredResponse(response, (0.9, 0.1, 0.5), 0.1), ScoredResponse(other, (1.0,), 1.0)]
    found = summarise(scored)
    assert (found.responses, found.sentences, found.flagged, found.touched) == (2, 4, 1, 1)
    assert (found.flagged_share, found.touched_share) == (0.25, 0.5)
    assert {place: count for place, count in enumerate(found.histogram) if count} == {2: 1, 10: 1, 18: 1, 19: 1}
    assert [(each.score, each.label, each.count) for each in found.calibration] == [(0.1, 0, 1), (0.9, 1, 1)]
    assert found.calibrated == "sentence"
    assert [(each.place, each.score) for each in found.positions] == [(1, 0.95), (2, 0.1), (3, 0.5)]
    page = render_report(scored)
    said = " ".join(line.strip() for line in outline(page).lines)
    assert "sentences flagged dd 25.0% dd.small span 1 score below span 0.5" in said


def test_without_sentence_labels_calibration_reads_response_labels():
    bare = [
        ScoredResponse(Response.from_sentences(item.response.id, ["A."], label=item.response.label), (0.3,), 0.3)
        for item in make_scored(10)
    ]
    assert summarise(bare).calibrated == "response"
    unlabelled = [ScoredResponse(item.response.without_labels(), (0.3,), 0.3) for item in bare]
    assert summarise(unlabelled).calibration == ()
    assert "Calibration" not in "".join(outline(render_report(unlabelled)).lines)


def test_checks_tell_interval_and_advice_where_they_have_them():
    nan = float("nan")
    told = SimpleNamespace(name="n", verdict="warn", sentence="s", value=0.5, low=0.25, high=0.75, advice="softmin")
    words = outline(render_report(make_scored(1), checks=[told, SimpleNamespace(**{**vars(told), "value": nan})])).lines
    assert [line.strip() for line in words].count("softmin") == 2
    assert [line.strip() for line in words].count("0.5 (0.25 … 0.75)") == 1


def test_checks_stand_in_their_groups_and_aspects():
    names = ("length shortcut", "label noise", "position shortcut", "prior: cosine")
    told = {name: Finding(name, "ok", f"about {name}", 0.5) for name in names}
    own = list(told.values())
    lines = [line.strip() for line in outline(render_report(make_scored(1), checks={"a": own, "b": own[1:2]})).lines]
    checks = lines[lines.index("section#checks") :]
    assert [checks[at + 1] for at, line in enumerate(checks) if line == "h3"][:2] == ["a", "b"]
    assert [checks[at + 1] for at, line in enumerate(checks) if line == "h4"] == [
        *("Shortcuts", "Labels", "Priors"),
        "Labels",
    ]
    assert checks.index("about position shortcut") < checks.index("Labels")
    assert "section#checks" not in outline(render_report(make_scored(1), checks={"a": []})).lines


def test_each_aspect_has_its_section():
    scored = make_scored(6, 1, "faithful") + make_scored(5, 2, "<b>polite</b>")
    both = ("faithful", "<b>polite</b>")
    evaluations = {aspect: evaluate(scored, "mae", bootstrap=0, aspect=aspect) for aspect in both}
    lines = [line.strip() for line in outline(render_report(scored, evaluation=evaluations)).lines]
    assert lines.count("h3") == 6  # two of metrics, two of overviews, two of sentences over all aspects
    assert [lines[at + 1] for at, line in enumerate(lines) if line == "option"].count("<b>polite</b>") == 1
    assert "section#aspects" not in [line.strip() for line in outline(render_report(scored[:6])).lines]


def test_a_report_is_written_whole_or_not_at_all(tmp_path):
    target = write_report(tmp_path / "report.html", make_scored(3), title="Drei Häuser")
    assert target.read_text(encoding="utf-8") == render_report(make_scored(3), title="Drei Häuser")
    before = target.read_bytes()
    with pytest.raises(BadData, match="no scored response"):
        write_report(target, [])
    with pytest.raises(BadData, match="between 0 and 1"):
        write_report(target, make_scored(1), threshold=1.0)
    assert target.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


def luminance(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_texts_stand_out_from_every_colour_in_light_and_dark():
    for scheme, colours in (("light", palette.LIGHT), ("dark", palette.DARK)):
        assert min(contrast(palette.INK[scheme], colour) for colour in colours) >= 4.5
    style = re.search(r"<style>(.*?)</style>", full_page(), re.DOTALL)[1]
    light, dark = [
        dict(re.findall(r"--([a-z]+): (#[0-9a-f]{6});", rules))
        for rules in re.findall(r":root \{(.*?)\n\s*\}", style, re.DOTALL)
    ]
    for scheme, found in (("light", light), ("dark", dark)):
        for name in ("soft", "accent", "bad", "fails", "good"):
            assert min(contrast(found[name], found[ground]) for ground in ("page", "card")) >= 4.5, (scheme, name)
        assert contrast(palette.INK[scheme], found["mark"]) >= 4.5


def deuteranope(colour: str) -> tuple[float, float, float]:
    """Colours as people without green cones see them (Viénot, Brettel and Mollon, 1999), in linear light."""
    red, green, blue = [(int(colour[at : at + 2], 16) / 255) ** 2.2 for at in (1, 3, 5)]
    yellow = 0.29275 * red + 0.70725 * green
    return yellow, yellow, -0.02234 * red + 0.02234 * green + blue


def test_bad_and_good_differ_for_the_colour_blind():
    for colours in (palette.LIGHT, palette.DARK):
        bad, good = deuteranope(colours[0]), deuteranope(colours[-1])
        assert bad[0] - bad[2] > 0.1 > -0.1 > good[0] - good[2]  # yellowish against bluish


@given(st.floats(0, 1), st.floats(0.01, 0.99))
def test_the_step_tells_the_side_of_the_threshold_and_never_falls(score, threshold):
    place = palette.step(score, threshold)
    assert 0 <= place <= 8
    assert (place < palette.MIDDLE) == (score < threshold)
    assert place <= palette.step(min(1.0, score + 0.1), threshold)


def test_notebooks_get_an_escaped_fragment_with_every_score():
    parsed = outline(fragment(hostile()))
    assert parsed.tags == Counter(div=1, p=3, strong=2, span=len(HOSTILE))
    text = fragment(make_scored(1)[0])
    for score in make_scored(1)[0].sentence_scores:
        assert f"score {score:.2f} ±" in text
    table = evaluation_fragment(evaluate(make_scored(9), ["roc_auc", "mae"], bootstrap=10))
    assert outline(table).tags["tr"] == 4
    card = outline(card_fragment("A <b>scorer</b>", {HOSTILE[0]: HOSTILE[2], "rank": 0.5}))
    assert (card.tags["tr"], card.tags["b"], card.tags["script"]) == (2, 0, 0)


def test_a_list_shows_its_first_responses_and_says_how_many_more():
    scored = make_scored(13)
    text = fragments(scored)
    assert outline(text).tags["div"] == 10
    assert "… and 3 more of 13" in text
    assert "more" not in fragments(scored[:10]).split("</div>")[-1]
    assert fragments([]) == "<p>none</p>"
    assert "0.333" in card_fragment("A scorer", {"AUC": 1 / 3})
    assert "0.3333" not in card_fragment("A scorer", {"AUC": 1 / 3})


def test_a_comparison_shows_itself_as_markdown():
    table = compare(make_scored(9), make_scored(9), ["roc_auc"], bootstrap=10)
    assert not hasattr(table, "_repr_html_")
    assert "difference" in table._repr_markdown_()
    assert "roc_auc" in evaluate(make_scored(9), ["roc_auc"], bootstrap=10)._repr_html_()


def test_charts_are_well_formed_for_extremes():
    for drawn in (
        charts.histogram_chart([0, 0], 0.5),
        charts.histogram_chart([10**7, 1], 0.01),
        charts.calibration_chart([], "sentence"),
        charts.position_chart([]),
        charts.gap_chart([0, 0], 0.1, 0.5),
        charts.gap_chart([10**7, 1], 0.5, 0.5),
        charts.curves_chart([], [], "Cost"),
        charts.curves_chart(training_curves([{"a": 0.0, "<b>": -3.0}, {"<b>": 5.0}]).costs, [""], "Cost"),
        charts.interval_chart(float("nan"), float("nan"), float("nan")),
        charts.interval_chart(-0.5, -0.9, 0.1),
    ):
        assert outline(drawn).tags["svg"] == 1
        assert "nan" not in re.sub(r'aria-label="[^"]*"', "", drawn)


@given(st.integers(0, 10**9))
def test_axes_end_at_a_round_number_no_lower_than_the_count(count):
    drawn = charts.histogram_chart([count], 0.5)
    low, half, top = (int(tick.replace(",", "")) for tick in re.findall(r'text-anchor="end"[^>]*>([\d,]+)<', drawn))
    assert (low, 2 * half) == (0, top)
    assert count <= top <= max(2, 2 * count)


def test_history_leaves_out_what_is_undefined():
    epoch = SimpleNamespace(epoch=3, parts={"response": 0.5}, held_out=float("nan"), best=1.0)
    assert history_series([epoch]) == {"response": [(3.0, 0.5)]}
    twice = history_series([{"epoch": epoch, "loss": epoch} for epoch in (1, 2, 1, 2)])
    assert twice == {"loss": [(1, 1), (2, 2), (3, 1), (4, 2)]}  # two trainings, one behind the other
    told = history_series([{"parts": {"response": 1.0}, "held_out": None, "auc": auc} for auc in (None, 0.75)])
    assert told == {"response": [(1, 1), (2, 1)], "held-out AUC": [(2, 0.75)]}
    assert history_series([{"loss": 2, "note": "x"}, {"loss": 1}]) == {"loss": [(1.0, 2.0), (2.0, 1.0)]}


def terminal(scored, colour: bool = False, **options) -> str:
    written = io.StringIO()
    system = "truecolor" if colour else None
    console = Console(file=written, width=70, color_system=system, force_terminal=colour, no_color=not colour)
    show(scored, console, **options)
    return written.getvalue()


def test_the_terminal_reads_without_colour():
    response = Response.from_sentences("r1", ["It is so.", "It is not."], query="Is it?", label=0)
    text = terminal([ScoredResponse(response, (0.91, 0.08), 0.08, (0.01, 0.2))])
    assert [line.rstrip() for line in text.splitlines()] == [
        "r1  score 0.08  label 0.00",
        "Is it?",
        "  0.91 ±0.01 It is so.",
        "▼ 0.08 ±0.20 It is not.",
    ]


def test_the_terminal_colours_what_is_bad_otherwise():
    text = terminal(make_scored(5), colour=True)
    assert "\x1b[1;38;2;215;95;0m" in text
    assert "\x1b[" not in terminal(make_scored(5))


def test_the_worst_come_first_and_no_more_than_asked():
    scored = make_scored(30, 3)
    lowest = sorted(min(item.sentence_scores) for item in scored)
    assert [min(item.sentence_scores) for item in worst_first(iter(scored), 4)] == lowest[:4]
    assert len(worst_first(scored, None)) == 30
    assert terminal(scored, limit=2).count("score") == 2
    assert terminal(scored, worst_first=False, limit=1).startswith("r00000")


def test_texts_cannot_steer_the_terminal():
    assert visible("a\x1b[31mb\x07\x9bc\u202ed\ud83d\n") == "a␛[31mb␇�c�d� "
    shown = terminal([hostile()])
    assert not set("\x1b\x07") & set(shown)
    shown.encode("utf-8")
