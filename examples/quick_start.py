# %% [markdown]
# # Quick start
# Labels on whole responses in, a score for every sentence out. The responses are made here, so their sentences' true
# labels are known:
# they judge the scores and teach nothing.

# %%
import dataclasses

from fractal import SentenceScorer, TrainingPlan, evaluate, make_responses

made = make_responses(260, task="summaries", seed=1)
answers = made[200:]
rated = [
    dataclasses.replace(one, sentences=tuple(dataclasses.replace(s, label=None) for s in one.sentences))
    for one in made[:200]
]
print(rated[0].label, rated[0].text)

# %% [markdown]
# The encoder `hashing` and few epochs keep this quick. The default encoder, a small network, is better.

# %%
scorer = SentenceScorer(encoder="hashing(dim=256)", recipe="own", plan=TrainingPlan(epochs=10, members=3, folds=3))
scorer.fit(rated)

# %%
scored = scorer.score_responses(answers)
scored[:5]

# %% [markdown]
# How good are they? Intervals come from resampling whole responses.

# %%
evaluate(scored, ["roc_auc", "within_response_auc"], bootstrap=200)

# %% [markdown]
# The label of a response that is known says more: in a good one every sentence is good, in a bad one the blame goes
# where the scorer sees it.

# %%
scorer.disaggregate(rated[:5])
