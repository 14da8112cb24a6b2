# %% [markdown]
# # Sentence rewards in TRL
# A scorer as the reward function that TRL's trainers call: `f(prompts, completions, **columns)`.

# %%
from fractal import SentenceScorer, TrainingPlan, make_responses
from fractal.scorers.rewards import sentence_reward

made = make_responses(220, task="summaries", seed=3)
plan = TrainingPlan(epochs=10, members=3, folds=3)
scorer = SentenceScorer(encoder="hashing(dim=256)", recipe="own", plan=plan).fit(made[:200])

# %% [markdown]
# A number a completion: what makes the response, here its worst sentence, less one spread between the heads, so that
# a policy gains nothing where they disagree.

# %%
reward = sentence_reward(scorer, kappa=1.0)
batch = made[200:204]
rewards = reward(
    prompts=["Summarise."] * 4,
    completions=[response.text for response in batch],
    context=[list(response.context) for response in batch],
)
for response, number in zip(batch, rewards, strict=True):
    print(f"{number:.2f}  rated {response.label:g}  {response.text[:80]}")

# %% [markdown]
# A number a sentence, with its place in the text: for rewards at the end of each sentence, or for credit by step.

# %%
spans = sentence_reward(scorer, form="sentence")(completions=[batch[0].text], context=[list(batch[0].context)])
[(span.start, span.end, round(span.reward, 2)) for span in spans[0]]

# %% [markdown]
# An empty completion earns 0: silence does not pay.
#
# In training (needs `trl` and a model; not run here):
#
# ```python
# reward = sentence_reward(scorer, kappa=1.0)
# trainer = GRPOTrainer(model=…, reward_funcs=[reward], train_dataset=rows_with_prompt_and_context)
# ```

# %%
assert sentence_reward(scorer)(completions=[""], context=[["A document."]]) == [0.0]
