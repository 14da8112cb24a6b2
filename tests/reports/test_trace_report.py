"""Runs of agents in reports: the decisive step beside a passed run's, failures that recur, slices, timelines."""

from __future__ import annotations

import io
from dataclasses import replace

from rich.console import Console

from fractal.records import Response, ScoredResponse
from fractal.reports import show
from fractal.reports.decisive_steps import Decisive
from fractal.reports.html import render_report
from fractal.reports.recurring_failures import recurring_failures
from fractal.reports.traces import run_report, timeline


def run(id, order, label, agent="a1", group="t1", tool="cancel"):
    steps = [
        "User: Cancel <b>it</b>.\nAgent: Of course.",
        f"Call: {tool}(order={order}, reason=late)\nResult: a very long answer of the tool",
        "Agent: Done.",
    ]
    extra = {"meta": {"agent": agent}}
    response = Response.from_sentences(id, steps, label=label, group=group, extra=extra)
    scores = (0.9, 0.9 if label else 0.1, 0.8)
    return ScoredResponse(response, scores, min(scores))


RUNS = [run("good", "W1", 1.0), run("bad", "W2", 0.0, "a2"), run("worse", "W3", 0.0, "a2", "t2", "refund")]


def test_a_failed_run_is_put_down_to_its_lowest_step_beside_a_passed_one():
    report = run_report(RUNS)
    assert (report.runs, report.failed) == (3, 2)
    found = {step.run: step for _, step, _ in report.timelines}
    assert (found["bad"].number, found["bad"].tool, found["bad"].passed_run) == (2, "cancel", "good")
    assert "order=W1" in found["bad"].passed_step
    assert found["worse"].passed_run == ""  # no run of that task passed
    assert {(one.tool, one.count) for one in report.recurring} == {("cancel", 1), ("refund", 1)}
    assert [(one.name, one.runs, one.failed) for one in report.agents] == [("a2", 2, 2), ("a1", 1, 0)]
    assert [(one.name, one.failed) for one in report.tasks] == [("t1", 1), ("t2", 1)]


def lacking(id, tool):
    made = run(id, "W1", 0.0)
    return replace(made, response=replace(made.response, extra={**made.response.extra, "missing_call": tool}))


def test_a_run_that_lacks_a_call_is_put_down_to_it_and_to_no_step():
    runs = [*RUNS, lacking("short", "refund"), lacking("other", "refund")]
    report = run_report(runs)
    assert report.missing == 2
    assert ("no call of refund", 2) in {(one.tool, one.count) for one in report.recurring}
    assert not any(line.decisive for line in timeline(runs[-1]))
    page = render_report(runs)
    assert "short: nothing wrong is seen, no call of <code>refund</code>" in page
    assert "In 2 of them nothing wrong is seen" in page
    stream = io.StringIO()
    show(iter(runs[-1:]), Console(file=stream, width=160))
    assert "passed runs of the task called refund, this one did not" in stream.getvalue()
    assert "▼" not in stream.getvalue()


def step(number, words, tool="update"):
    return Decisive(f"run{number}", f"task{number % 5}", 2, 0.1, tool, f"Agent: {words}\nCall: {tool}(id={number})")


def test_steps_of_one_tool_are_clustered_by_their_words():
    address = [step(n, f"I change the shipping address of your parcel {n}") for n in range(6)]
    price = [step(n, f"Refunding the price difference by gift card {n}") for n in range(10, 14)]
    odd = [step(20, "Zebra quagga okapi")]
    rows = recurring_failures([*address, *price, *odd, step(30, "Bye", tool="hang_up")])
    assert [(row.tool, row.count) for row in rows] == [("update", 6), ("update", 4), ("hang_up", 1), ("update", 1)]
    assert {"address", "shipping"} & set(rows[0].words)
    assert {"refunding", "price", "gift", "card", "difference"} & set(rows[1].words)
    assert rows[3].words == ("(others)",)
    assert rows[0].tasks == 5
    assert sum(row.count for row in rows) == 12


def test_clusters_do_not_depend_on_the_order_of_runs():
    steps = [step(n, ["change the address", "refund the price", "say goodbye"][n % 3]) for n in range(15)]
    rows, turned = recurring_failures(steps), recurring_failures(steps[::-1])
    assert [(row.tool, row.count, row.words) for row in rows] == [(row.tool, row.count, row.words) for row in turned]


def test_steps_without_a_word_and_tools_with_very_many_steps_are_counted_too(monkeypatch):
    monkeypatch.setattr("fractal.reports.recurring_failures.MOST_STEPS", 10)
    steps = [Decisive(f"r{n}", "t", 1, 0.1, "u", "Call: u()") for n in range(25)]
    rows = recurring_failures(steps)
    assert sum(row.count for row in rows) == 25
    assert {row.count: row.words for row in rows}[15] == ("(others)",)


def test_hard_labels_outrank_scores():
    item = RUNS[1]
    marked = ScoredResponse(item.response, item.sentence_scores, 0.1, sentence_labels=(1.0, 1.0, 0.0))
    assert [line.decisive for line in timeline(marked)] == [False, False, True]


def test_texts_have_no_section_of_runs():
    response = Response.from_sentences("x", ["One.", "Two."], label=0.0)
    scored = [ScoredResponse(response, (0.2, 0.8), 0.2)]
    assert run_report(scored) is None
    assert 'id="runs"' not in render_report(scored)


def test_the_page_holds_timelines_and_escapes_what_runs_say():
    page = render_report(RUNS)
    assert 'id="runs"' in page
    assert "Failures that recur" in page
    assert "<code>refund</code>" in page
    assert "&lt;b&gt;it&lt;/b&gt;" in page
    assert "<b>it</b>" not in page


def test_the_terminal_folds_results_and_opens_the_decisive_step():
    stream = io.StringIO()
    assert show(iter(RUNS), Console(file=stream, width=160), worst_first=False) == 3
    good, bad = stream.getvalue().split("bad  score")[:2]
    assert "a very long answer" not in good
    assert "→ 30 characters" in good
    assert "▼" not in good
    assert "Result: a very long answer" in bad
    assert "in good, which passed:" in bad
