"""Traces of agents: every documented form is read into the same steps, and nothing after the final answer is."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fractal.errors import BadData, BadSpec
from fractal.readers import READERS, ReadReport, read
from fractal.records.steps import call_arguments, call_name, call_text, join_parts, step_of

# One run, told in every form: the agent looks an order up, cancels it, and says so.
POLICY = "Be kind.\n\nCancel only pending orders."
STEPS = [
    'User: Cancel #W12.\nCall: get_order(order_id=#W12)\nResult: {"status":"pending"}',
    "Call: cancel_order(order_id=#W12, reason=changed mind)\nResult: Error: no such reason",
    "Agent: It is cancelled.",
]
CALLS = [
    ("c1", "get_order", {"order_id": "#W12"}),
    ("c2", "cancel_order", {"order_id": "#W12", "reason": "changed mind"}),
]
RESULTS = ['{"status":"pending"}', "Error: no such reason"]


def openai_call(id, name, arguments, write=json.dumps):
    return {"id": id, "type": "function", "function": {"name": name, "arguments": write(arguments)}}


def chat(write=json.dumps):
    return [
        {"role": "system", "content": POLICY},
        {"role": "user", "content": "Cancel #W12."},
        {"role": "assistant", "content": None, "tool_calls": [openai_call(*CALLS[0], write)]},
        {"role": "tool", "tool_call_id": "c1", "content": RESULTS[0]},
        {"role": "assistant", "content": None, "tool_calls": [openai_call(*CALLS[1], write)]},
        {"role": "tool", "tool_call_id": "c2", "content": RESULTS[1]},
        {"role": "assistant", "content": "It is cancelled."},
        {"role": "user", "content": "That was wrong! ###STOP###"},
    ]


def openai_rows():
    return [{"id": "t1", "messages": chat(), "reward": 0.0, "task_id": 7, "agent": "a1", "info": {"cost": 3}}]


def part(kind, **fields):
    return {"type": kind, **fields}


def otel_rows(style="sdk"):
    """Return spans as the Python SDK prints them (wrapper last, as spans end), or as one OTLP batch."""
    first = [{"role": "user", "parts": [part("text", content="Cancel #W12.")]}]
    asks = [{"role": "assistant", "parts": [part("tool_call", id=i, name=n, arguments=a)]} for i, n, a in CALLS]
    answers = [
        {"role": "tool", "parts": [part("tool_call_response", id=call[0], response=result)]}
        for call, result in zip(CALLS, RESULTS, strict=True)
    ]
    end = {"role": "assistant", "parts": [part("text", content="It is cancelled.")], "finish_reason": "stop"}
    system = json.dumps([part("text", content=POLICY)])
    chats = [
        (first, asks[0]),
        ([*first, asks[0], answers[0]], asks[1]),
        ([*first, asks[0], answers[0], asks[1], answers[1]], end),
    ]
    spans = []
    for number, (heard, said) in enumerate(chats):
        attributes = {
            "gen_ai.operation.name": "chat",
            "gen_ai.system_instructions": system,
            "gen_ai.input.messages": json.dumps(heard),
            "gen_ai.output.messages": json.dumps([said]),
        }
        spans.append((f"m{number}", "root", 2 * number + 1, attributes, [], "chat m"))
    for number, ((id, name, arguments), result) in enumerate(zip(CALLS, RESULTS, strict=True)):
        attributes = {
            "gen_ai.operation.name": "execute_tool",
            "gen_ai.tool.name": name,
            "gen_ai.tool.call.id": id,
            "gen_ai.tool.call.arguments": json.dumps(arguments),
            "gen_ai.tool.call.result": result,
        }
        spans.append((f"x{number}", "root", 2 * number + 2, attributes, [], f"execute_tool {name}"))
    score = {"gen_ai.evaluation.name": "resolved", "gen_ai.evaluation.score.value": 0.0}
    wrapper = {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "a1", "task_id": "7"}
    spans.append(("root", "", 0, wrapper, [("gen_ai.evaluation.result", score)], "invoke_agent a1"))
    return [sdk(span) for span in spans] if style == "sdk" else [otlp(spans)]


def sdk(span):
    id, parent, start, attributes, events, name = span
    return {
        "name": name,
        "context": {"trace_id": "t1", "span_id": id},
        "parent_id": parent or None,
        "start_time": f"2026-01-01T00:00:0{start}.000000Z",
        "attributes": attributes,
        "events": [{"name": event, "attributes": inner} for event, inner in events],
        "status": {"status_code": "UNSET"},
    }


def otlp(spans):
    def pairs(attributes):
        return [
            {"key": key, "value": {"doubleValue" if isinstance(v, float) else "stringValue": v}}
            for key, v in attributes.items()
        ]

    written = [
        {
            "traceId": "t1",
            "spanId": id,
            "parentSpanId": parent,
            "name": name,
            "startTimeUnixNano": str(1_767_225_600_000_000_000 + start * 10**9),
            "attributes": pairs(attributes),
            "events": [{"name": event, "attributes": pairs(inner)} for event, inner in events],
        }
        for id, parent, start, attributes, events, name in spans
    ]
    return {"resourceSpans": [{"resource": {"attributes": []}, "scopeSpans": [{"spans": written}]}]}


def openinference_rows():
    def span(id, start, kind, attributes, parent="root"):
        return {
            "name": "step",
            "context": {"trace_id": "t1", "span_id": id},
            "parent_id": parent,
            "start_time": f"2026-01-01T00:00:0{start}+00:00",
            "attributes": {"openinference.span.kind": kind, **attributes},
        }

    def flat(side, messages):
        found = {}
        for i, (role, content, calls, answers) in enumerate(messages):
            found[f"llm.{side}_messages.{i}.message.role"] = role
            if content:
                found[f"llm.{side}_messages.{i}.message.content"] = content
            if answers:
                found[f"llm.{side}_messages.{i}.message.tool_call_id"] = answers
            for j, (id, name, arguments) in enumerate(calls):
                base = f"llm.{side}_messages.{i}.message.tool_calls.{j}.tool_call"
                found |= {f"{base}.id": id, f"{base}.function.name": name}
                found[f"{base}.function.arguments"] = json.dumps(arguments)
        return found

    heard = [("system", POLICY, [], ""), ("user", "Cancel #W12.", [], "")]
    said = [
        ("assistant", "", [CALLS[0]], ""),
        ("assistant", "", [CALLS[1]], ""),
        ("assistant", "It is cancelled.", [], ""),
    ]
    rows = []
    for number, message in enumerate(said):
        rows.append(span(f"m{number}", 2 * number + 1, "LLM", flat("input", heard) | flat("output", [message])))
        heard.append(message)
        if number < 2:
            id, name, arguments = CALLS[number]
            heard.append(("tool", RESULTS[number], [], id))
            attributes = {"tool.name": name, "input.value": json.dumps(arguments), "output.value": RESULTS[number]}
            rows.append(span(f"x{number}", 2 * number + 2, "TOOL", attributes))
    metadata = {"metadata": json.dumps({"task_id": "7"}), "agent.name": "a1"}
    root = span("root", 0, "AGENT", metadata, None)
    root["annotations"] = [{"name": "correctness", "result": {"score": 0.0, "label": "bad"}}]
    return [*rows, root]


def langfuse_rows():
    def observation(id, start, kind, given, said, name="step"):
        return {
            "id": id,
            "traceId": "t1",
            "parentObservationId": "root",
            "type": kind,
            "name": name,
            "startTime": f"2026-01-01T00:00:0{start}.000Z",
            "input": given,
            "output": said,
        }

    messages = chat()[:-1]
    rows = []
    for number, at in enumerate((2, 4, 6)):
        rows.append(observation(f"m{number}", 2 * number + 1, "GENERATION", messages[:at], messages[at]))
        if number < 2:
            _, name, arguments = CALLS[number]
            rows.append(observation(f"x{number}", 2 * number + 2, "TOOL", arguments, RESULTS[number], name))
    root = observation("root", 0, "AGENT", None, "It is cancelled.") | {"parentObservationId": None}
    root["metadata"] = {"task_id": 7, "agent": "a1"}
    score = {"id": "s", "traceId": "t1", "name": "quality", "dataType": "BOOLEAN", "value": 0}
    beside = {"id": "s2", "traceId": "t1", "observationId": "m0", "name": "tone", "dataType": "NUMERIC", "value": 9}
    return [{"data": [*reversed(rows), root]}, score, beside]


def langsmith_rows():
    stamp = "20260101T00000{}000000Z{}"

    def run(id, start, kind, given, said, **more):
        order = stamp.format(0, "t1") + ("" if id == "t1" else f".{stamp.format(start, id)}")
        return {
            "id": id,
            "trace_id": "t1",
            "parent_run_id": None if id == "t1" else "t1",
            "run_type": kind,
            "dotted_order": order,
            "inputs": given,
            "outputs": said,
            **more,
        }

    def serialized(name, **fields):
        return {"lc": 1, "type": "constructor", "id": ["langchain", "schema", "messages", name], "kwargs": fields}

    asks = [serialized("AIMessage", content="", tool_calls=[{"name": n, "args": a, "id": i}]) for i, n, a in CALLS]
    heard = [serialized("SystemMessage", content=POLICY), serialized("HumanMessage", content="Cancel #W12.")]
    said = [*asks, serialized("AIMessage", content="It is cancelled.")]
    rows = []
    for number, message in enumerate(said):
        generations = {"generations": [[{"text": "", "message": message}]]}
        rows.append(run(f"m{number}", 2 * number + 1, "llm", {"messages": [list(heard)]}, generations))
        heard.append(message)
        if number < 2:
            id, name, arguments = CALLS[number]
            output = serialized("ToolMessage", content=RESULTS[number], tool_call_id=id)
            heard.append(output)
            rows.append(
                run(f"x{number}", 2 * number + 2, "tool", {"input": repr(arguments)}, {"output": output}, name=name)
            )
    extra = {"metadata": {"task_id": 7, "agent": "a1"}}
    feedback = {"run_id": "t1", "key": "correct", "score": 0.0}
    stray = {"run_id": "m0", "key": "tone", "score": 1.0}
    return [feedback, stray, *reversed(rows), run("t1", 0, "chain", {}, {}, extra=extra)]


def step_rows():
    steps = [
        {"user": "Cancel #W12.", "tool": "get_order", "arguments": {"order_id": "#W12"}, "result": RESULTS[0]},
        {"action": {"tool": "cancel_order", "args": repr(CALLS[1][2])}, "observation": RESULTS[1]},
        {"agent": "It is cancelled."},
    ]
    return [{"id": "t1", "steps": steps, "success": 0.0, "task": 7, "agent": "a1", "context": POLICY.split("\n\n")}]


FORMS = {
    "openai_messages": openai_rows,
    "opentelemetry": otel_rows,
    "openinference": openinference_rows,
    "langfuse": langfuse_rows,
    "langsmith": langsmith_rows,
    "steps": step_rows,
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("stored", ["rows", "lines", "array"])
def test_every_form_tells_the_same_run(form, stored, tmp_path):
    rows = FORMS[form]()
    source = rows
    if stored != "rows":
        source = tmp_path / "traces.json"
        source.write_text(json.dumps(rows) if stored == "array" else "\n".join(map(json.dumps, rows)))
    report = ReadReport()
    (run,) = read(source, form, report=report)
    assert [sentence.text for sentence in run.sentences] == STEPS
    assert (run.id, run.label, run.group, run.query) == ("t1", 0.0, "7", "Cancel #W12.")
    assert run.context == ("Be kind.", "Cancel only pending orders.")
    assert run.extra["meta"]["agent"] == "a1"
    assert [step["tools"] for step in run.extra["meta"]["steps"]] == [["get_order"], ["cancel_order"], []]
    assert [step["error"] for step in run.extra["meta"]["steps"]] == [False, True, False]
    assert "label" in report.guessed


def test_spans_lead_back_to_their_trace():
    for form in ("opentelemetry", "openinference", "langfuse", "langsmith"):
        (run,) = read(FORMS[form](), form)
        steps = run.extra["meta"]["steps"]
        assert [step["span"] for step in steps] == ["m0", "m1", "m2"], form
        assert [step.get("calls", []) for step in steps] == [["c1"], ["c2"], []], form
        assert steps[0]["result_spans"] == ["x0"], form


def test_a_batch_of_the_protocol_is_read_as_spans_are():
    (run,) = read(otel_rows("otlp"), "opentelemetry(outcome='resolved', task='task_id')")
    assert [sentence.text for sentence in run.sentences] == STEPS
    assert (run.label, run.group) == (0.0, "7")


@pytest.mark.parametrize("write", [json.dumps, repr, dict], ids=["json", "literal", "object"])
def test_arguments_may_be_written_in_three_ways(write):
    rows = [{"messages": chat(write), "reward": 1.0}]
    (run,) = read(rows, "openai_messages")
    assert [sentence.text for sentence in run.sentences] == STEPS


def test_what_stands_after_the_final_answer_is_not_read():
    verdict = {"role": "tool", "tool_call_id": "f", "content": "Answer is INCORRECT"}
    finish = {"role": "assistant", "tool_calls": [openai_call("f", "finish", {"answer": "42"})]}
    rows = [{"id": "x", "messages": [*chat()[:-1], finish, verdict, {"role": "user", "content": "Wrong."}]}]
    report = ReadReport()
    (run,) = read(rows, "openai_messages", report=report)
    assert "INCORRECT" not in run.text
    assert "Wrong" not in run.text
    assert report.counts["turns after the final answer, not read"] == 2
    assert report.counts["runs without an outcome"] == 1
    (run,) = read(rows, "openai_messages(last_result=True)")
    assert run.sentences[-1].text.endswith("Result: Answer is INCORRECT")
    assert "Wrong" not in run.text


def test_long_parts_are_cut_and_counted():
    messages = [{"role": "user", "content": "u" * 500}, {"role": "assistant", "content": "a" * 900}]
    report = ReadReport()
    (run,) = read([{"messages": messages}], "openai_messages(user=50)", report=report)
    assert run.text == f"User: {'u' * 50} [...]\nAgent: {'a' * 800} [...]"
    assert report.counts["User parts cut at 50 characters"] == report.counts["Agent parts cut at 800 characters"] == 1
    assert "User parts cut at 50 characters: 1" in str(report)
    with pytest.raises(BadSpec, match="keep at least 20"):
        READERS.build("openai_messages(user=3)")


def test_a_refused_trace_counts_nothing():
    report = ReadReport()
    rows = openai_rows() * 2
    assert len(list(read(rows, "openai_messages", on_error="reject", report=report))) == 1
    assert report.rejected == 1
    assert report.counts["turns after the final answer, not read"] == 1


@pytest.mark.parametrize(
    ("form", "rows", "problem"),
    [
        ("openai_messages", [{"text": "x"}], "field 'messages': there is none"),
        ("openai_messages", [{"messages": [{"role": "user", "content": "Hi"}]}], "no message of the agent"),
        ("openai_messages", [{"messages": [{"role": "robot", "content": "Hi"}]}], "found the role 'robot'"),
        (
            "openai_messages",
            [{"messages": [{"role": "assistant", "tool_calls": [{"id": "c"}]}]}],
            "a function with a name",
        ),
        ("opentelemetry", [{"name": "x"}], "a span has a trace's id"),
        (
            "opentelemetry",
            [{"trace_id": "t", "span_id": "s", "start_time": 1, "attributes": {"gen_ai.operation.name": "chat"}}],
            "CAPTURE_MESSAGE_CONTENT",
        ),
        ("opentelemetry", [{"trace_id": "t", "span_id": "s", "attributes": {}}], "no span of a model or a tool"),
        ("langsmith", [{"a": 1}], "give runs or feedback"),
        ("langfuse", [{"a": 1}], "give observations, scores or traces"),
        ("steps", [{"steps": [{"x": 1}]}], "give `agent` or `tool`"),
    ],
)
def test_bad_traces_are_refused_plainly(form, rows, problem):
    with pytest.raises(BadData, match=problem.replace("(", r"\(")):
        list(read(rows, form))
    report = ReadReport()
    assert list(read(rows, form, on_error="reject", report=report)) == []
    assert report.rejected == 1


def test_a_tool_that_no_message_called_is_a_step_of_its_own():
    rows = [row for row in otel_rows() if "chat" not in row["name"]]
    (run,) = read(rows, "opentelemetry(last_result=True)")
    assert [sentence.text for sentence in run.sentences] == [STEPS[0].partition("\n")[2], STEPS[1]]


def test_a_model_inside_a_model_is_one_call():
    rows = otel_rows()
    inner = json.loads(json.dumps(rows[0]))
    inner["context"]["span_id"], inner["parent_id"] = "inner", "m0"
    report = ReadReport()
    (run,) = read([inner, *rows], "opentelemetry", report=report)
    assert [sentence.text for sentence in run.sentences] == STEPS
    assert report.counts["spans of a model inside another's, dropped"] == 1


def test_several_calls_of_one_message_keep_their_results():
    messages = [
        {"role": "assistant", "tool_calls": [openai_call("a", "f", {"x": 1}), openai_call("b", "f", {"x": 2})]},
        {"role": "tool", "tool_call_id": "b", "content": "two"},
        {"role": "tool", "tool_call_id": "a", "content": "one"},
        {"role": "assistant", "content": "Done."},
    ]
    (run,) = read([{"messages": messages}], "openai_messages")
    assert run.sentences[0].text == "Call: f(x=1)\nResult: one\nCall: f(x=2)\nResult: two"


texts = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\r\v\f\x1c\x1d\x1e\x85\u2028\u2029"), max_size=30
)


@given(user=texts, agent=texts, calls=st.lists(st.tuples(texts, texts), max_size=3))
def test_the_parts_of_a_step_come_back_whatever_they_say(user, agent, calls):
    parts = [("User", user), ("Agent", agent)]
    for call, result in calls:
        parts += [("Call", call), ("Result", result)]
    step = step_of(join_parts(parts))
    assert len(step.calls) == len(step.results) == len(calls)
    hidden = ("User:", "Agent:", "Call:", "Result:")
    if not any(word in text for word in hidden for text in (user, agent)):
        assert (step.user, step.agent) == (user, agent)


def test_a_call_is_written_and_read_again():
    call = call_text("cancel", {"order_id": "#W12", "items": ["a", "b"], "note": "late, broken"})
    assert call == 'cancel(order_id=#W12, items=["a","b"], note=late, broken)'
    assert call_name(call) == "cancel"
    assert call_arguments(call) == {"order_id": "#W12", "items": '["a","b"]', "note": "late, broken"}
