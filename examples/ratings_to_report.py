# %% [markdown]
# # From ratings to a report
# A table of rated answers, as people have it: a column of text, a column of thumbs, what the answer was held against.

# %%
import csv

from fractal import SentenceScorer, TrainingPlan, make_responses, read
from fractal.reports import write_report

with open("ratings.csv", "w", newline="") as file:
    rows = csv.writer(file)
    rows.writerow(["reply", "document", "thumbs"])
    for response in make_responses(160, task="summaries", seed=2):
        rows.writerow([response.text, " ".join(response.context), "up" if response.label else "down"])

# %% [markdown]
# Columns that are named otherwise than fractal knows are mapped; thumbs are read as 1 and 0.

# %%
rated = list(read("ratings.csv", columns={"response": "reply", "context": "document", "label": "thumbs"}))
print(len(rated), "responses,", sum(response.label == 1 for response in rated), "good")

# %%
plan = TrainingPlan(epochs=10, members=3, folds=3)
scorer = SentenceScorer(encoder="hashing(dim=256)", recipe="own", plan=plan).fit(rated)
scorer

# %% [markdown]
# What held-out ratings say of the assumptions:

# %%
for check in scorer.checks_:
    print(f"{check.verdict:5} {check.name}: {check.sentence}")

# %% [markdown]
# One page that needs no network: every response with coloured sentences, the worst first.

# %%
labelled = scorer.disaggregate(rated)
write_report("report.html", labelled, title="Rated replies", checks=scorer.checks_)
