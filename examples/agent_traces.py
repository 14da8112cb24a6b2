# %% [markdown]
# # Agent traces
# Runs of an agent that passed or failed; the step that made them fail is wanted. A run passes when every step is
# right, so its label is the minimum of its steps.

# %%
import json
import random

from fractal import SentenceScorer, TrainingPlan, read
from fractal.scorers.runs import run_verdicts

chance = random.Random(0)


def call(name, **arguments):
    function = {"name": name, "arguments": json.dumps(arguments)}
    return {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": name, "type": "function", "function": function}],
    }


with open("runs.jsonl", "w") as file:
    for number in range(96):
        task, right = number % 12, chance.random() < 0.6
        messages = [
            {"role": "user", "content": f"I am customer {task}. Please cancel my last order."},
            call("find_orders", customer=task),
            {"role": "tool", "tool_call_id": "find_orders", "content": f"#W{task}0 (today), #W{task}7 (last year)"},
            call("cancel_order", order=f"#W{task}{0 if right else 7}"),
            {"role": "tool", "tool_call_id": "cancel_order", "content": "done"},
            {"role": "assistant", "content": "It is done."},
        ]
        run = {"id": f"run{number}", "task_id": f"task{task}", "reward": float(right), "messages": messages}
        file.write(json.dumps(run) + "\n")

# %%
runs = list(read("runs.jsonl", "openai_messages"))
print(len(runs), "runs,", sum(run.label == 0 for run in runs), "failed;", len(runs[0].sentences), "steps in the first")

# %% [markdown]
# Nobody says which tool matters: outcomes tell. A run's steps are labelled by heads that did not learn from its task.

# %%
plan = TrainingPlan(epochs=10, members=3, folds=3)
scorer = SentenceScorer(encoder="hashing(dim=256)", plan=plan).fit(runs)
labelled = scorer.disaggregate(runs)
verdicts = run_verdicts(scorer, labelled)

# %%
failed = [(run, verdict) for run, verdict in zip(runs, verdicts, strict=True) if run.label == 0]
blamed = [run.sentences[verdict.step].text for run, verdict in failed if not verdict.missing]
print(f"{sum('cancel_order' in text for text in blamed)} of {len(failed)} failed runs: the cancelled order is to blame")
print(failed[0][1])
