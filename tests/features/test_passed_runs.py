"""Steps of agents as columns: held against plain loops, and what outcomes teach of tools."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fractal.encoders.embedding import embed
from fractal.features import FEATURES, compute
from fractal.features.passed_runs import RunMemory, calls_of, fit_hazards, unlikeness
from fractal.features.pipeline import FeaturePipeline
from fractal.records import Response
from fractal.records.steps import call_arguments, call_name, step_of
from support.slow_twins_features import WordEncoder

TOOLS = ("look", "write")


def block_of(runs):
    return embed(runs, WordEncoder())


@st.composite
def rated_runs(draw):
    runs = []
    for number in range(draw(st.integers(1, 6))):
        steps = []
        for _ in range(draw(st.integers(1, 3))):
            tool, a, b = draw(st.sampled_from(TOOLS)), draw(st.integers(0, 2)), draw(st.sampled_from(["x", "[p, q]"]))
            bad = draw(st.sampled_from(["Error: no", "fine"]))
            steps.append(f"Call: {tool}(a={a}, b={b})\nResult: {bad}")
        label = draw(st.sampled_from([0.0, 1.0, None]))
        runs.append(Response.from_sentences(f"r{number}", steps, label=label, group=draw(st.sampled_from("gh"))))
    return runs


def items(call):
    found = set()
    for name, value in call_arguments(call).items():
        parts = value[1:-1].split(", ") if value.startswith("[") else [value]
        found |= {(name, part) for part in parts}
    return found


def slow_unlikeness(run, runs):
    """Return `unlike`, `new`, `absent` of each call of a run, by loops over the passed other runs of its task."""
    others = [other for other in runs if other.group == run.group and other.label == 1.0 and other.id != run.id]
    rows = []
    for sentence in run.sentences:
        for call in step_of(sentence.text).calls:
            best, has = [], []
            for other in others:
                matches = [0.0]
                for there in other.sentences:
                    step = step_of(there.text)
                    if call_name(step.calls[0]) == call_name(call) and not step.results[0].startswith("Error"):
                        ours, theirs = items(call), items(step.calls[0])
                        matches.append(len(ours & theirs) / len(ours | theirs))
                best.append(max(matches))
                has.append(len(matches) > 1)
            count = max(len(others), 1)
            new = max(best, default=0.0) < 0.999
            rows.append((1 - sum(best) / count, float(new), 1 - sum(has) / count))
    return rows, bool(others)


@settings(max_examples=60)
@given(runs=rated_runs())
def test_calls_are_compared_with_passed_other_runs_of_the_task_alone(runs):
    block = block_of(runs)
    rows, known = unlikeness(FEATURES.build("passed_runs").fit(block), block)
    calls = calls_of(block)
    for bag, run in enumerate(runs):
        expected, some = slow_unlikeness(run, runs)
        np.testing.assert_allclose(rows[calls.run == bag], expected, atol=1e-9)
        assert (known[calls.run == bag] == some).all()


@settings(max_examples=20)
@given(runs=rated_runs())
def test_fitted_columns_are_finite_come_back_and_do_not_depend_on_the_batch(runs):
    block = block_of(runs)
    feature = FEATURES.build("passed_runs")
    memory = feature.fit(block)
    whole = memory(block).values
    assert np.isfinite(whole).all()
    np.testing.assert_array_equal(feature.restored(memory.arrays())(block).values, whole)
    alone = [memory(block_of([run])).values for run in runs]
    np.testing.assert_allclose(np.concatenate(alone), whole, atol=1e-6)


def tasks(count, seed=0, groups=True):
    """Runs that read what they like and write what the task demands, or fail."""
    rng = np.random.default_rng(seed)
    runs = []
    for task in range(count):
        for turn in range(6):
            wrong = rng.random() < 0.4
            steps = [
                "User: Please help.\nAgent: Of course.",
                f"Call: look(page={rng.integers(50)})\nResult: text",
                f"Call: write(item={task}{'b' if wrong else 'a'})\nResult: done",
                f"Call: look(page={rng.integers(50)})\nResult: text",
                "Agent: Done.",
            ]
            group = f"t{task}" if groups else None
            runs.append(Response.from_sentences(f"{task}-{turn}", steps, label=float(not wrong), group=group))
    return runs


def test_outcomes_tell_which_tools_matter():
    block = block_of(tasks(15))
    memory = FEATURES.build("passed_runs").fit(block)
    from fractal.features.steps import stable_hash

    weight = dict(zip(memory.tools.tolist(), memory.weights[-1].max(1).tolist(), strict=True))
    assert weight[stable_hash("write")] > 1
    assert weight[stable_hash("look")] < 0.1 * weight[stable_hash("write")]
    hazard = memory(block).values[:, 0].reshape(-1, 5)
    labels = np.array([run.label for run in block.responses])
    assert (hazard[labels == 0].argmax(1) == 2).all()


def test_weights_of_a_task_do_not_hang_on_its_own_outcomes():
    runs = tasks(10)
    other = [
        *runs[:-6],
        *(
            Response.from_sentences(r.id, [s.text for s in r.sentences], label=1 - r.label, group=r.group)
            for r in runs[-6:]
        ),
    ]
    first, second = (FEATURES.build("passed_runs").fit(block_of(part)) for part in (runs, other))
    fold = first.folds[-1]
    np.testing.assert_allclose(first.weights[fold], second.weights[fold])
    assert not np.allclose(first.weights[-1], second.weights[-1])


def test_the_fit_of_hazards_finds_the_best_of_a_grid():
    rng = np.random.default_rng(0)
    rows = rng.integers(0, 2, (400, 2)).astype(float)
    passed = (rng.random(400) < np.exp(-0.1 - rows @ np.array([1.5, 0.0]))).astype(float)
    weights = fit_hazards(rows, passed)
    assert weights[0] == pytest.approx(1.5, abs=0.4)
    assert 0 <= weights[1] < 0.2


def test_the_pipeline_keeps_what_the_feature_learned():
    block = block_of(tasks(8))
    pipeline, table = FeaturePipeline.fit(block, ("passed_runs", "step_kind"), directions=0)
    again = FeaturePipeline.restored(pipeline.recipe, pipeline.standardiser, pipeline.arrays())
    np.testing.assert_array_equal(again(block).dense, table.dense)
    assert isinstance(pipeline.fitted[0][1], RunMemory)
    assert not np.allclose(compute(block, ("passed_runs",)).dense[:, 0], table.dense[:, 0])


def one(steps, **fields):
    return block_of([Response.from_sentences("x", steps, **fields)])


def column(feature, name, block):
    columns = FEATURES.build(feature)(block)
    return columns.values[:, columns.names.index(f"{feature}.{name}")].tolist()


def test_what_a_step_is_and_what_its_calls_brought():
    steps = [
        "User: Hi #7.\nAgent: Hello.",
        "Call: f(a=#7)\nResult: []",
        "Call: f(a=#7)\nResult: Error: bad",
        "Call: g()",
    ]
    block = one(steps)
    assert column("step_kind", "answers", block) == [1, 0, 0, 0]
    assert column("step_kind", "final", block) == [0, 0, 0, 1]
    assert column("call_result", "empty", block) == [0, 1, 0, 0]
    assert column("call_result", "failed", block) == [0, 0, 1, 0]
    assert column("call_result", "same_call", block) == [0, 0, 1, 0]
    assert column("call_result", "missing", block) == [0, 0, 0, 1]
    assert column("call_result", "after_failure", block) == [0, 0, 0, 1]


def test_arguments_and_statements_that_nobody_gave():
    steps = [
        "User: Cancel #W12.\nCall: get(id=#W12)\nResult: paid 10.50 by card_7",
        "Call: refund(id=#W12, to=card_9, amount=10.50)\nResult: ok",
        "Agent: I refunded 10.50 and 3.25.",
    ]
    block = one(steps)
    assert column("new_arguments", "share_of_facts", block) == pytest.approx([0, 1 / 3, 0])
    assert column("stated_facts", "share_unheard", block) == pytest.approx([0, 0, 0.5])


def test_tools_fall_in_columns_by_name_alone():
    values = FEATURES.build("tool_name(buckets=8)")(one(["Call: f(a=1)", "Call: f(a=2)", "Agent: f"])).values
    assert values.sum(1).tolist() == [1, 1, 0]
    assert (values[0] == values[1]).all()
