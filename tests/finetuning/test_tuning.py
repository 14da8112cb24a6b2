"""An encoder tuned on response labels: what it learns, that it can be killed, saved and read again."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from fractal.errors import BadSpec
from fractal.finetuning.backbone import load_backbone
from fractal.finetuning.expert import TunedExpert
from fractal.finetuning.export import export_token_classifier
from fractal.finetuning.fit import tune
from fractal.finetuning.plan import TuningPlan
from fractal.mil.aggregations import AGGREGATIONS
from fractal.mil.bags import Bags
from fractal.mil.objectives.aspects import AspectTerm, MultiAspect
from fractal.mil.objectives.losses import PreferenceLoss, ResponseLoss, SentenceLoss
from fractal.mil.training.plan import Objective
from support.tuning_models import review_bags, reviews, tiny_model

PRODUCT = Objective((ResponseLoss(),), AGGREGATIONS.build("product"))
QUICK = TuningPlan(epochs=2, min_steps=4, batch_size=8, device="cpu", precision="fp32")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return str(tiny_model(tmp_path_factory.mktemp("bert")))


def plan_of(folder, **options):
    return dataclasses.replace(QUICK, encoder=folder, **options)


def auc(scores, truth):
    good, bad = scores[truth > 0.5], scores[truth < 0.5]
    return float((good[:, None] > bad[None]).float().mean() + 0.5 * (good[:, None] == bad[None]).float().mean())


def test_tuning_finds_the_bad_sentences_of_new_responses(folder):
    rated, new = reviews(80), reviews(40, seed=1)
    bare = [dataclasses.replace(r.without_labels(), label=r.label) for r in rated]
    result = tune(bare, review_bags(bare), PRODUCT, plan_of(folder, epochs=6, encoder_rate=1e-3))
    logits = result.expert.logits([r.without_labels() for r in new])
    truth = torch.tensor([s.label for r in new for s in r.sentences])
    assert logits.shape == (len(truth), 1)
    assert auc(logits[:, 0], truth) > 0.9


def test_every_weight_of_the_upper_layers_moves_and_no_lower_one(folder):
    rated = reviews(32)
    before = load_backbone(folder).network.state_dict()
    result = tune(rated, review_bags(rated), PRODUCT, plan_of(folder, encoder_rate=1e-3))
    after = result.expert.networks[0].backbone.network.state_dict()
    assert before.keys() == after.keys()
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert {name for name in before if "layer.1." in name} <= moved | {n for n in before if "key.bias" in n}
    assert not any("layer.0." in name or "embeddings" in name for name in moved)


@pytest.mark.parametrize("form", ["product", "noisy_or", "mean", "count", "softmin", "min_levels(levels=3)"])
def test_ratings_under_every_kind_of_aggregation_are_learned(folder, form):
    rated = reviews(16)
    objective = Objective((ResponseLoss(),), AGGREGATIONS.build(form))
    result = tune(rated, review_bags(rated), objective, plan_of(folder, epochs=1, min_steps=2))
    logits = result.expert.logits(rated)
    assert logits.shape[0] == 64
    assert logits.shape[1:-1] == (() if objective.aggregation.thresholds == 1 else (2,))
    assert bool(logits.isfinite().all())


def test_gold_labels_are_learned_beside_ratings(folder):
    rated = reviews(16)
    objective = Objective((ResponseLoss(observed="gold"), SentenceLoss()), AGGREGATIONS.build("product"))
    result = tune(rated, review_bags(rated, gold=True), objective, plan_of(folder, epochs=1, min_steps=2))
    assert bool(result.expert.logits(rated).isfinite().all())


def test_preferences_are_learned(folder):
    rated = [dataclasses.replace(r, label=None) for r in reviews(40)]
    share = [np.mean([s.label for s in r.sentences]) for r in rated]
    pairs = [(a, b, 0) for a in range(40) for b in (a + 1, a + 7) if b < 40 and share[a] > share[b]]
    bags = dataclasses.replace(review_bags(rated), pairs=torch.tensor(pairs))
    objective = Objective((PreferenceLoss(kind="logit"),), AGGREGATIONS.build("mean"))
    result = tune(rated, bags, objective, plan_of(folder, epochs=6, encoder_rate=1e-3))
    truth = torch.tensor([s.label for r in rated for s in r.sentences])
    assert auc(result.expert.logits(rated)[:, 0], truth) > 0.75


def test_aspects_are_outputs_of_one_encoder(folder):
    rated = reviews(24)
    bags = review_bags(rated)
    labels = torch.stack([bags.labels, 1 - bags.labels], 1)
    form = MultiAspect.of([("good", 0, AGGREGATIONS.build("product")), ("bad", 1, AGGREGATIONS.build("noisy_or"))])
    bags = Bags.make(bags.features, bags.offsets, labels, weights=bags.weights)
    objective = Objective(tuple(AspectTerm.of(ResponseLoss(), aspect) for aspect in form.aspects), form)
    objective = dataclasses.replace(objective, validation_loss=objective.terms[0])
    result = tune(rated, bags, objective, plan_of(folder, epochs=4, encoder_rate=1e-3))
    logits = result.expert.logits(rated)
    assert logits.shape == (96, 2, 1)
    assert float(torch.corrcoef(logits[:, :, 0].T)[0, 1]) < -0.5


def test_held_out_log_odds_are_known_where_a_member_held_the_response_out(folder):
    rated = reviews(20)
    bags = review_bags(rated, members=2, folds=4)
    result = tune(rated, bags, PRODUCT, plan_of(folder, members=2))
    unseen = (bags.weights == 0).any(1)[bags.sentence_bag]
    assert torch.equal(~result.held_out[:, 0].isnan(), unseen)
    by_member = result.expert.logits(rated)
    assert by_member.shape[-1] == 2
    first = (bags.weights[:, 0] == 0)[bags.sentence_bag]
    assert torch.allclose(result.held_out[first, 0], by_member[first, 0], atol=0.05)  # states were kept in 16 bits


def test_a_killed_tuning_goes_on_to_the_same_bits(folder, tmp_path):
    rated = reviews(32)
    plan = plan_of(folder, epochs=4, reading="own")

    class Killed(Exception):
        pass

    def kill(epoch):
        if epoch.epoch == 2:
            raise Killed

    whole = tune(rated, review_bags(rated), PRODUCT, plan, checkpoints=tmp_path / "a")
    with pytest.raises(Killed):
        tune(rated, review_bags(rated), PRODUCT, plan, callbacks=[kill], checkpoints=tmp_path / "b")
    assert list((tmp_path / "b").glob("tuned-*-0/checkpoint-*"))
    resumed = tune(rated, review_bags(rated), PRODUCT, plan, checkpoints=tmp_path / "b")
    assert torch.equal(whole.expert.logits(rated), resumed.expert.logits(rated))


def test_the_same_seed_gives_the_same_bits(folder):
    rated = reviews(16)
    first, second = (
        tune(rated, review_bags(rated), PRODUCT, plan_of(folder, reading="own")).expert.logits(rated) for _ in range(2)
    )
    assert torch.equal(first, second)


@pytest.mark.parametrize("kind", ["bert", "modernbert", "deberta-v2", "mpnet", "llama"])
def test_models_of_many_kinds_are_tuned_saved_and_read_again(kind, tmp_path):
    rated = reviews(12, query=True)
    plan = plan_of(str(tiny_model(tmp_path / "model", kind)), epochs=1, min_steps=2)
    result = tune(rated, review_bags(rated), PRODUCT, plan)
    assert set(result.probes) == ({"full"} if kind == "llama" else {"both", "twin"})
    for path, content in result.expert.files().items():
        target = tmp_path / "saved" / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
    again = TunedExpert.restored(tmp_path / "saved")
    assert torch.allclose(again.logits(rated), result.expert.logits(rated), atol=1e-5)
    from transformers import AutoModel

    plain = AutoModel.from_pretrained(tmp_path / "saved" / "0")
    assert type(plain).__name__ == type(result.expert.networks[0].backbone.network).__name__


def test_an_exported_token_classifier_gives_the_log_odds_of_sentences(folder, tmp_path):
    from transformers import AutoModelForTokenClassification, AutoTokenizer

    rated = reviews(16)
    expert = tune(rated, review_bags(rated), PRODUCT, plan_of(folder, reading="own", encoder_rate=1e-3)).expert
    place = export_token_classifier(expert, tmp_path / "classifier")
    model = AutoModelForTokenClassification.from_pretrained(place).eval()
    tokenizer = AutoTokenizer.from_pretrained(place)
    text = rated[0].sentences[0].text
    words = tokenizer(text, add_special_tokens=False)["input_ids"]
    ids = torch.tensor([[tokenizer.cls_token_id, *words, tokenizer.sep_token_id]])
    with torch.inference_mode():
        logit = model(input_ids=ids).logits[0, 1:-1].mean()
    assert float(logit) == pytest.approx(float(expert.logits(rated[:1])[0, 0]), abs=1e-3)


def test_what_compares_texts_is_not_exported(folder, tmp_path):
    rated = reviews(12, query=True)
    expert = tune(rated, review_bags(rated), PRODUCT, plan_of(folder, reading="twin", epochs=1, min_steps=1)).expert
    with pytest.raises(BadSpec, match="twin"):
        export_token_classifier(expert, tmp_path / "classifier")
