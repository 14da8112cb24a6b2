"""One cell of the study: a set and a seed, under every method; rows for the tables, and the log-odds behind them."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

RESAMPLES = 100
RULES = {"product": "min", "noisy_or": "max", "mean": "mean"}


def run_cell(name: str, seed: int, most: int | None, options: dict[str, Any]) -> list[dict]:
    """Fit and judge every method on one set under one seed; each row names its method."""
    import torch

    torch.set_num_threads(1)
    cell = _Cell(name, seed, most, options)
    rows = cell.default() if options.get("default", True) else []
    if options.get("mpnet"):
        rows += cell.large(options["mpnet"])
    if options.get("supervised", True) and cell.has_gold:
        rows += cell.supervised()
    if "arrays" in options:
        folder = Path(options["arrays"])
        folder.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(folder / f"{name}-{seed}-{options.get('tag', 'cell')}.npz", **cell.arrays)
    return rows


class _Cell:
    def __init__(self, name: str, seed: int, most: int | None, options: dict[str, Any]) -> None:
        from benchmarks.accuracy.data import WITHOUT_SENTENCE_LABELS, load

        self.data = load(name, most, seed)
        self.name, self.seed, self.most, self.options = name, seed, most, options
        self.test = [response.without_labels() for response in self.data.test]
        self.has_gold = name not in WITHOUT_SENTENCE_LABELS
        self.arrays: dict[str, np.ndarray] = {}
        self.held_out: dict[str, Any] = {}  # log-odds by frozen encoders
        self.started = (0.0, 0.0)

    def scorer(self, encoder: Any = "minilm", learn_from: str = "responses") -> Any:
        from fractal.mil.training.plan import TrainingPlan
        from fractal.scorers.sentence import SentenceScorer

        plan = TrainingPlan(seed=self.seed, device="cpu")  # heads are small: a CPU's thread each
        return SentenceScorer(
            aggregation=self.data.aggregation, encoder=encoder, learn_from=learn_from, plan=plan,
            cache=self.options.get("cache", False),
        )  # fmt: skip

    def tuning(self, **changes: Any) -> Any:
        from fractal.finetuning.plan import TuningPlan

        return TuningPlan(**{"members": 5, "seed": self.seed, **self.options.get("plan", {}), **changes})

    def begin(self) -> None:
        self.started = time.perf_counter(), time.process_time()

    def row(self, method: str, logits: Any, aggregation: Any, **more: Any) -> dict:
        """Judge log-odds (sentence, [level − 1,] 1) of the test responses."""
        from benchmarks.accuracy.judging import judge
        from fractal.records import ScoredResponse

        wall, cpu = time.perf_counter() - self.started[0], time.process_time() - self.started[1]
        scores = aggregation.sentence_scores(logits).squeeze(-1).double().clamp(0, 1).tolist()
        scored, place = [], 0
        import torch

        offsets = torch.tensor([0, *np.cumsum([len(response.sentences) for response in self.test])])
        whole = aggregation.response_scores(logits, offsets)[:, 0].double().clamp(0, 1).tolist()
        for response, implied in zip(self.test, whole, strict=True):
            own = scores[place : place + len(response.sentences)]
            scored.append(ScoredResponse(response, tuple(own), implied))
            place += len(own)
        judged = judge(scored, self.data.test, self.name, RULES[self.data.aggregation], RESAMPLES)
        key = method.replace(" ", "_")
        self.arrays[f"test/{key}"] = logits.numpy().astype(np.float16)
        told = {"set": self.name, "method": method, "seed": self.seed, "most": self.most}
        return {**told, "wall_s": round(wall, 1), "cpu_s": round(cpu, 1), "score": judged, **more}

    def default(self) -> list[dict]:
        """The default; unless frozen encoders alone are asked for, the tuned encoder and both."""
        name = self.options.get("name", "tuned")
        rows, result, self.frozen, block = self._frozen("minilm", "default")
        if not self.options.get("tuned", True):
            return rows
        own, more = self._tuned(result, block, name)
        rows.append(self.row(name, own, result.ensemble.aggregation, **more))
        rows.append(self._both(f"default + {name}", self.frozen, own, result, more))
        self.own, self.own_row = own, more
        return rows

    def _frozen(self, encoder: Any, method: str, learn_from: str = "responses") -> tuple[list[dict], Any, Any, Any]:
        from fractal.ensemble.experts import Predictor
        from fractal.ensemble.fit import fit_ensembles

        self.begin()
        scorer = self.scorer(encoder, learn_from)
        corpus, config = scorer.prepare(self.data.train if learn_from == "sentences" else self.data.bare())
        block, test = scorer.embed(corpus.responses), scorer.embed(self.test)
        result = fit_ensembles(block, corpus, {"": scorer.forms(corpus)}, config)[""]
        logits = result.ensemble.logits(Predictor(test)).mean(-1, keepdim=True)
        self.corpus, self.config, self.test_block = corpus, config, test
        self.held_out[method] = result.held_out
        self.arrays[f"held_out/{method.replace(' ', '_')}"] = result.held_out.numpy().astype(np.float16)
        row = self.row(method, logits, result.ensemble.aggregation, cost=float(result.cost))
        return [row], result, logits, block

    def _tuned(self, result: Any, block: Any, key: str) -> tuple[Any, dict]:
        """Tune on the bags of a fit; return the scaled test log-odds, and what was chosen."""
        import torch

        from fractal.ensemble.objective import label_terms
        from fractal.ensemble.weighting import without_common
        from fractal.finetuning.fit import tune
        from fractal.finetuning.reading import nearest_passages
        from fractal.mil.objectives.losses import SentenceLoss
        from fractal.mil.training.plan import Objective
        from fractal.scorers.tuned import fitted_line, held_out_only, label_bags, within_correlation

        self.begin()
        aggregation, config = result.ensemble.aggregation, self.config
        bags = label_bags(block, self.corpus, result.weights, config)
        terms = (SentenceLoss(),) if config.supervised else label_terms(bags, config.gold_weight)
        objective = Objective(terms, aggregation, validation_loss="gold" if config.supervised else "response")
        plan = self.tuning(members=1) if config.supervised else self.tuning()
        tuned = tune(block.responses, bags, objective, plan, passages=nearest_passages(block))
        share = result.ensemble.topic_share
        own = without_common(
            tuned.expert.logits(self.test, nearest_passages(self.test_block)),
            torch.from_numpy(self.test_block.offsets),
            share,
        )
        held_out = without_common(tuned.held_out, bags.offsets, share)
        known = held_out_only(bags, held_out)
        scale, shift = fitted_line(held_out, known, aggregation, config)
        self.known, self.own_held_out = known, held_out * scale + shift
        self.arrays[f"held_out/{key}"] = tuned.held_out.numpy().astype(np.float16)
        self.arrays[f"test_members/{key}"] = own.numpy().astype(np.float16)
        self.arrays["weights"], self.arrays["labels"] = result.weights.astype(bool), self.corpus.labels
        more = {
            "scale": scale, "shift": shift, "reading": tuned.expert.reading, "probes": dict(tuned.probes),
            "alike": within_correlation(held_out, result.held_out, bags.offsets), "notes": tuned.notes,
        }  # fmt: skip
        return own.mean(-1, keepdim=True) * scale + shift, more

    def _both(self, method: str, frozen: Any, own: Any, result: Any, more: dict) -> dict:
        from fractal.ensemble.weighting import response_cost
        from fractal.scorers.tuned import harmless_share, joined_by, most_share

        aggregation, most = result.ensemble.aggregation, most_share(more["scale"], more["alike"])

        def cost(logits: Any) -> float:
            return response_cost(logits, self.known, aggregation)

        share = harmless_share(result.held_out, self.own_held_out, cost, most)
        joined = joined_by(share, frozen, own)
        return self.row(method, joined, aggregation, share=share, most=most, alike=more["alike"])

    def large(self, folder: str) -> list[dict]:
        """The default on a larger frozen encoder, and with the tuned one."""
        from fractal.encoders.transformer import MPNet, Transformer

        encoder = MPNet() if folder == "hub" else Transformer(folder)  # a folder's weights may be rounded
        rows, result, logits, _ = self._frozen(encoder, "mpnet")
        if hasattr(self, "frozen"):
            two = (self.frozen + logits) / 2
            held_out = (self.held_out["default"] + self.held_out["mpnet"]) / 2
            rows.append(self.row("default + mpnet", two, result.ensemble.aggregation))
        if hasattr(self, "own"):
            name = self.options.get("name", "tuned")
            rows.append(self._both(f"mpnet + {name}", logits, self.own, result, self.own_row))
            both = replace(result, held_out=held_out)
            rows.append(self._both(f"default + mpnet + {name}", two, self.own, both, self.own_row))
        return rows

    def supervised(self) -> list[dict]:
        """Full supervision: the heads on frozen vectors, and the encoder tuned on sentence labels."""
        rows, result, _, block = self._frozen("minilm", "supervised", "sentences")
        if not self.options.get("tuned", True):
            return rows
        own, more = self._tuned(result, block, "supervised_tuned")
        rows.append(self.row("supervised tuned", own, result.ensemble.aggregation, **more))
        return rows
