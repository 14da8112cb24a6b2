"""Corruption: labels that say what changed, failures left out, nothing that gives negatives away."""

from __future__ import annotations

import dataclasses
import http.server
import json
import threading
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fractal.datasets.corruption import (
    CORRUPTORS,
    GENERATORS,
    Case,
    CorruptionReport,
    Generator,
    GeneratorFailed,
    corrupt,
)
from fractal.datasets.corruption.facts import Fact, find_facts, find_words
from fractal.datasets.corruption.vetting import vetted
from fractal.datasets.synthetic import make_preferences, make_responses, make_splits
from fractal.errors import BadData, BadSpec
from fractal.records import Response


def good(count: int = 120, seed: int = 0) -> list[Response]:
    made = make_responses(count * 3 + 20, task="summaries", seed=seed)
    return [response for response in made if response.label == 1.0][:count]


def originals(responses: Sequence[Response]) -> dict[str, Response]:
    return {f"{response.id}/corrupted": response for response in responses}


@dataclasses.dataclass(frozen=True)
class Says(Generator):
    """A generator that says always the same."""

    sentence: str | None = None
    word: str = "Zanzibar"

    def replace_sentence(self, case: Case, place: int, rng: Random) -> str | None:
        return self.sentence

    def replace_words(self, case: Case, facts: Sequence[Fact], rng: Random) -> Sequence[str] | None:
        return [self.word] * len(facts)


@pytest.mark.parametrize("corruptor", list(CORRUPTORS))
def test_labels_are_zero_where_a_sentence_changed_and_nowhere_else(corruptor: str) -> None:
    responses = good()
    report = CorruptionReport()
    made = corrupt(responses, [corruptor], share=1.0, report=report)
    assert len(made) == sum(report.corrupted.values()) > 100
    before = originals(responses)
    for response in made:
        original = before[response.id]
        changed = [a.text != b.text for a, b in zip(original.sentences, response.sentences, strict=True)]
        assert any(changed)
        assert [label == 0.0 for label in response.sentence_labels] == changed
        assert response.label == min(label for label in response.sentence_labels if label is not None) == 0.0
        assert response.group == original.split_group
        assert response.context == original.context


def test_half_is_corrupted_in_place_and_the_rest_stays_as_it_is() -> None:
    responses = good()
    report = CorruptionReport()
    made = corrupt(responses, report=report)
    assert [response.id.removesuffix("/corrupted") for response in made] == [response.id for response in responses]
    assert sum(response.label == 0.0 for response in made) == sum(report.corrupted.values()) == 60
    assert all(response in responses for response in made if response.label == 1.0)
    assert report.unchanged == 60
    assert report.corrupted["sentences"] > report.corrupted["words"] > 0


def test_the_same_seed_corrupts_the_same_whatever_the_order() -> None:
    responses = good(60)
    first = {response.id: response for response in corrupt(responses, seed=3)}
    assert {response.id: response for response in corrupt(responses[::-1], seed=3)} == first
    assert {response.id: response for response in corrupt(responses, seed=4)} != first


def test_originals_can_stay_before_their_corrupted_version() -> None:
    made = corrupt(good(20), share=1.0, keep_originals=True)
    assert [response.label for response in made] == [1.0, 0.0] * 20
    (train, test) = make_splits(made, (0.5, 0.5))
    assert not {r.split_group for r in train} & {r.split_group for r in test}


def test_failures_are_left_out_and_counted_and_never_kept_as_good() -> None:
    """The paper's scripts keep what could not be corrupted, with label 1."""
    responses = good(20)
    for generator in (Says(), Says("the [MASK] of it"), Says(responses[0].text * 5), Says("")):
        report = CorruptionReport()
        assert corrupt(responses, ["sentences"], generator, share=1.0, report=report) == []
        assert report.discarded.total() == 20
    report = CorruptionReport()
    assert corrupt(responses, ["words"], Says(word="[MASK]"), share=1.0, report=report) == []
    assert "discarded: 20 because the new words change nothing, or do not fit" in str(report)


def test_bad_responses_pass_through() -> None:
    responses = make_responses(40, task="summaries", seed=1)
    made = corrupt(responses, share=1.0)
    assert [r for r in made if r in responses] == [r for r in responses if r.label == 0.0]


def test_references_without_a_label_count_as_good() -> None:
    bare = [response.without_labels() for response in good(10)]
    made = corrupt(bare, share=0.0)
    assert {response.label for response in made} == {1.0}
    assert {label for response in made for label in response.sentence_labels} == {1.0}


@pytest.mark.parametrize(
    "new", ["the [MASK] works.", "It is ___ .", "A <unk> b c d.", "Sure, here it is.", "a\nb c d e f"]
)
def test_tokens_that_give_a_negative_away_are_refused(new: str) -> None:
    case = Case(Response.from_sentences("r", ["The cat works here."]), ())
    assert vetted(new, "The cat works here.", case) is None or "\n" in new


@pytest.mark.parametrize(
    ("old", "new", "fitted"),
    [
        ("The cat sat.", "a dog stood", "A dog stood."),
        ("the cat sat .", "A Dog stood!", "a dog stood ."),
        ("The cat sat!", '"The dog stood."', "The dog stood!"),
        ("The cat sat", "The dog stood.", "The dog stood"),
        ("The cat sat.", "The  CAT sat", None),
        ("The cat sat.", "It purrs.", None),
        ("The cat sat.", "A.", None),
        ("The cat sat.", "The mat is red.", None),
    ],
)
def test_a_new_sentence_looks_like_the_old_one(old: str, new: str, fitted: str | None) -> None:
    case = Case(Response.from_sentences("r", [old, "It purrs."], context=("The mat is red. Fine.",)), ())
    assert vetted(new, old, case) == fitted


def test_what_the_source_says_is_no_corruption() -> None:
    responses = [dataclasses.replace(r, context=(*r.context, "The moon is made of old green cheese.")) for r in good(5)]
    report = CorruptionReport()
    says = Says("The moon is made of old green cheese.")
    assert corrupt(responses, ["sentences"], says, share=1.0, report=report) == []


# Style ---------------------------------------------------------------------------------------------------------------


def style(text: str) -> list[float]:
    words = text.split()
    return [
        len(text), len(words), len(text) / max(1, len(words)), sum(c.isdigit() for c in text), text.count("0"),
        sum(c.isupper() for c in text), sum(w[0].isupper() for w in words), sum(c in ",;:–-" for c in text),
        sum(c in "\"'“”’" for c in text), text.count("$") + text.count("%"),
        sum(w in ("not", "no", "never", "none", "without") for w in words), float(text[-1:] == "."),
        float(text[0].isupper()),
    ]  # fmt: skip


def style_auc(rows: list[tuple[str, list[float], float]]) -> float:
    """AUC of boosted trees on looks alone, over three folds of whole groups."""
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import GroupKFold, cross_val_predict

    groups, features, truth = zip(*rows, strict=True)
    model = HistGradientBoostingClassifier(max_iter=30, learning_rate=0.1, max_leaf_nodes=15, random_state=0)
    found = cross_val_predict(
        model, np.array(features), np.array(truth), groups=groups, cv=GroupKFold(3), method="predict_proba"
    )
    return float(roc_auc_score(truth, found[:, 1]))


@pytest.mark.parametrize("corruptor", list(CORRUPTORS))
def test_looks_alone_do_not_tell_negatives(corruptor: str) -> None:
    made = corrupt(good(700, seed=7), [corruptor])
    whole, single = [], []
    for response in made:
        texts = [sentence.text for sentence in response.sentences]
        assert response.label is not None
        whole.append((response.split_group, [len(texts), *style(response.text)], response.label))
        for place, sentence in enumerate(response.sentences):
            assert sentence.label is not None
            row = [place, len(texts) - place, *style(sentence.text)]
            single.append((response.split_group, row, sentence.label))
    assert style_auc(whole) < 0.6
    assert style_auc(single) < 0.6


def test_looks_that_do_tell_are_found() -> None:
    made = corrupt(good(300, seed=7), ["words"])
    rows = [(r.split_group, style(r.text + " not" * (r.label == 0.0)), r.label) for r in made if r.label is not None]
    assert style_auc(rows) > 0.9


# Facts ---------------------------------------------------------------------------------------------------------------


def test_facts_of_a_sentence() -> None:
    text = "In May 2009, Ada Birchall sold 1,250 prints to the Museum of Oldenmere for $3.5, not before noon."
    found = [(fact.text, fact.kind) for fact in find_facts(text)]
    assert found == [
        ("May", "date"), ("2009", "date"), ("Ada Birchall", "name"), ("sold", "opposite"), ("1,250", "number"),
        ("Museum of Oldenmere", "name"), ("3.5", "number"), ("not ", "negation"), ("before", "opposite"),
    ]  # fmt: skip
    assert [fact.text for fact in find_words(text)] == ["prints", "noon"]


@given(st.text(max_size=80))
def test_facts_stand_where_they_say_and_do_not_overlap(text: str) -> None:
    for facts in (find_facts(text), find_words(text)):
        assert all(text[fact.start : fact.end] == fact.text for fact in facts)
        assert all(one.end <= other.start for one, other in pairwise(facts))


def test_texts_in_lower_case_are_corrupted_by_their_words() -> None:
    lines = [
        "the reef is a long wooden bridge .",
        "divers found the rusty anchor there .",
        "it carries heavy traffic .",
    ]
    responses = [
        Response.from_sentences(f"r{n}", [line.replace("reef", word) for line in lines], label=1.0, context=(
            f"the {word} is a short stone tower . a famous painter found a golden letter . busy people carry books .",
        ))
        for n, word in enumerate(["reef", "mill", "dam", "quay", "hall", "ford"])
    ]  # fmt: skip
    made = corrupt(responses, ["words"], share=1.0)
    assert made
    assert all(response.text == response.text.lower() for response in made)


def test_rules_swap_numbers_within_their_form() -> None:
    rules = GENERATORS.build("rules")
    response = Response.from_sentences(
        "r", ["It drew 1,250 guests in 1998."], context=("It drew 1,250 guests in 1998.",)
    )
    for seed in range(20):
        new = rules.replace_words(Case(response, ()), find_facts(response.text), Random(seed))
        assert new is not None
        number, year = new
        assert number != "1,250"
        assert [c.isdigit() for c in number] == [c.isdigit() for c in "1,250"]
        assert number.endswith("0")  # round stays round
        assert 1968 <= int(year) < 1998


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(BadSpec, match="share=2"):
        corrupt(good(2), share=2)
    with pytest.raises(BadSpec, match="at least one corruptor"):
        corrupt(good(2), [])
    with pytest.raises(BadSpec, match="most=0"):
        CORRUPTORS.build("words(most=0)")
    with pytest.raises(BadData, match="preferences"):
        corrupt(make_preferences(2))  # type: ignore[arg-type]


# Language models -----------------------------------------------------------------------------------------------------


class Answers(http.server.BaseHTTPRequestHandler):
    """An endpoint that speaks OpenAI's protocol; the model's name says how it answers."""

    def do_POST(self) -> None:
        server = self.server
        assert isinstance(server, Endpoint)
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        server.asked.append({**asked, "path": self.path, "key": self.headers.get("Authorization", "")})
        prompt = asked["messages"][0]["content"]
        text = server.answer(asked["model"], prompt)
        body = json.dumps({"choices": [{"message": {"content": text}}]}).encode()
        code = 200
        if asked["model"] == "busy" and len(server.asked) == 1:
            code = 503
        if asked["model"] == "locked":
            code, body = 401, b"no key"
        if asked["model"] == "odd":
            body = b'{"choices": []}'
        self.send_response(code)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class Endpoint(http.server.ThreadingHTTPServer):
    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answers)
        self.asked: list[dict[str, object]] = []

    def answer(self, model: str, prompt: str) -> str:
        places = prompt.count("[") - 2  # the instructions name two
        if "Fill each place" in prompt and places > 0:
            if model == "short":
                return "1: one"
            return "\n".join(f"[{n}]: Zanzibar{n}" for n in range(1, places + 1))
        return '"The old lighthouse was painted in blue and red by the sailors of the town"'


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    with Endpoint() as made:
        threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        yield made
        made.shutdown()


def spec(endpoint: Endpoint, model: str) -> str:
    return f"openai(base_url='http://127.0.0.1:{endpoint.server_address[1]}/v1', model={model!r}, pause=0.0)"


def test_an_endpoint_replaces_sentences(endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    made = corrupt(good(12), ["sentences(most=0.1)"], spec(endpoint, "m"), share=1.0)
    assert made
    for response in made:
        changed = [s.text for s in response.sentences if s.label == 0.0]
        assert changed == ["The old lighthouse was painted in blue and red by the sailors of the town."]
    assert {(asked["path"], asked["key"]) for asked in endpoint.asked} == {("/v1/chat/completions", "Bearer k")}


def test_an_endpoint_replaces_words_and_cannot_touch_the_rest(endpoint: Endpoint) -> None:
    responses = good(12)
    made = corrupt(responses, ["words"], spec(endpoint, "m"), share=1.0)
    assert len(made) == 12
    assert all("Zanzibar1" in response.text for response in made)
    report = CorruptionReport()
    many = [r for r in responses if len(find_facts(r.text)) >= 5]
    corrupt(many, ["words(most=1)"], spec(endpoint, "short"), share=1.0, attempts=1, report=report)
    assert report.discarded["no other words fit"] > 0


def test_an_endpoint_that_is_busy_is_asked_again_and_one_that_is_odd_counts_as_failed(endpoint: Endpoint) -> None:
    assert len(corrupt(good(1), ["words"], spec(endpoint, "busy"), share=1.0)) == 1
    report = CorruptionReport()
    assert corrupt(good(1), ["words"], spec(endpoint, "odd"), share=1.0, report=report) == []
    assert report.discarded.total() == 1


def test_an_endpoint_that_cannot_work_says_why(endpoint: Endpoint) -> None:
    with pytest.raises(GeneratorFailed, match=r"401: no key \(set the variable OPENAI_API_KEY\)"):
        corrupt(good(1), ["words"], spec(endpoint, "locked"), share=1.0)
    with pytest.raises(GeneratorFailed, match="is the server running"):
        corrupt(good(1), ["words"], "openai(base_url='http://127.0.0.1:9/v1')", share=1.0)
    with pytest.raises(BadSpec, match="begins with http"):
        GENERATORS.build("openai(base_url='localhost')")


def tiny_model(folder: Path, masked: bool) -> str:
    """Write a random model with a vocabulary of whole words."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import BertConfig, BertForMaskedLM, GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

    words = sorted({w for r in good(30) for w in r.text.replace(".", " .").replace(",", " ,").split()})
    vocabulary = {word: n for n, word in enumerate(["[UNK]", "[PAD]", "[MASK]", "[EOS]", *words])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="[UNK]", pad_token="[PAD]", mask_token="[MASK]", eos_token="[EOS]"
    )
    size = {"vocab_size": len(vocabulary)}
    if masked:
        model = BertForMaskedLM(
            BertConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, **size)
        )
    else:
        model = GPT2LMHeadModel(GPT2Config(n_embd=16, n_layer=1, n_head=2, eos_token_id=3, bos_token_id=3, **size))
    model.save_pretrained(folder)
    fast.save_pretrained(folder)
    return str(folder)


@pytest.mark.slow
@pytest.mark.parametrize("masked", [False, True], ids=["causal", "masked"])
@pytest.mark.parametrize("corruptor", list(CORRUPTORS))
def test_a_local_model_writes_the_negatives(tmp_path: Path, masked: bool, corruptor: str) -> None:
    generator = f"transformers(model={tiny_model(tmp_path, masked)!r}, longest=16)"
    made = corrupt(good(16), [corruptor], generator, share=1.0, attempts=8)
    assert made
    assert made == corrupt(good(16), [corruptor], generator, share=1.0, attempts=8)
    assert all("[MASK]" not in response.text and "[UNK]" not in response.text for response in made)


def test_a_model_that_is_not_there_says_so(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    with pytest.raises(GeneratorFailed, match="cannot be loaded"):
        corrupt(good(1), ["words"], f"transformers(model={str(tmp_path)!r})", share=1.0)


def test_the_command_writes_summaries_that_can_be_read_again(tmp_path: Path) -> None:
    from click.testing import CliRunner

    from fractal.cli import app
    from fractal.readers import read

    data = Path(__file__).parents[1] / "data" / "paper" / "wikicatsum"
    out = tmp_path / "summaries.jsonl"
    told = CliRunner().invoke(
        app, ["corrupt", str(data), "--reader", "wikicatsum", "-o", str(out), "--share", "1", "--keep-originals"]
    )
    assert told.exit_code == 0, told.output
    assert "corrupted:" in told.stderr
    assert next(r.label for r in read(out) if isinstance(r, Response)) == 1.0


@pytest.mark.parametrize("registry", [CORRUPTORS, GENERATORS], ids=["corruptors", "generators"])
def test_components_are_built_from_their_text(registry: object) -> None:
    for name in registry:  # type: ignore[attr-defined]
        given = f"{name}(model='m')" if name == "transformers" else name
        made = registry.build(given)  # type: ignore[attr-defined]
        assert registry.build(registry.spec(made)) == made  # type: ignore[attr-defined]
        assert hash(made) == hash(registry.build(given))  # type: ignore[attr-defined]
        assert registry.summary(name)  # type: ignore[attr-defined]
