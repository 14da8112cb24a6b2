# %% [markdown]
# # Choosing what to label
# Ratings are there, a person has time for 60 sentences. Which? Those whose label says most about the others.

# %%
import dataclasses

from fractal import SentenceScorer, TrainingPlan, compare, make_responses
from fractal.scorers.active_learning import suggest_labels

made = make_responses(300, task="summaries", seed=4)
rated = [
    dataclasses.replace(one, sentences=tuple(dataclasses.replace(s, label=None) for s in one.sentences))
    for one in made[:200]
]
options = {"encoder": "hashing(dim=256)", "recipe": "own", "plan": TrainingPlan(epochs=10, members=3, folds=3)}
first = SentenceScorer(**options).fit(rated)

# %%
chosen = suggest_labels(first, rated, 60)
for suggestion in chosen[:5]:
    print(f"{suggestion.score:.2f}  {suggestion.text}")

# %% [markdown]
# The person answers; here the truth that the made responses carry does.

# %%
truth = {one.id: one for one in made}
wanted = {}
for suggestion in chosen:
    wanted.setdefault(suggestion.response_id, set()).add(suggestion.sentence)
answered = [
    dataclasses.replace(
        one,
        sentences=tuple(
            truth[one.id].sentences[place] if place in wanted.get(one.id, ()) else sentence
            for place, sentence in enumerate(one.sentences)
        ),
    )
    for one in rated
]
second = SentenceScorer(**options).fit(answered)

# %% [markdown]
# Before and after, on responses that neither has seen. One draw of 60 labels is no proof: the interval says so.

# %%
compare(
    second.score_responses(made[200:]),
    first.score_responses(made[200:]),
    ["roc_auc"],
    names=("with 60 labels", "ratings alone"),
    bootstrap=200,
)
