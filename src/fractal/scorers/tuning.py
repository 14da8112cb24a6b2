"""Searches for the settings under which held-out response labels cost least; a search can be stopped and taken up."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fractal.errors import BadFolder, BadSpec, FractalError, MissingExtra
from fractal.records import Preference, Response

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from fractal.scorers.sentence import SentenceScorer

BINARY = ("auto", "product", "softmin", "min", "noisy_or", "softmax_pool", "max", "mean")
GRADED = ("auto", "mean", "power_mean", "geometric_mean", "softmin", "softmax_pool")
RECIPES = ("auto", "own", "relational", "default")
UNITS = (0, 32, 64, 128)  # of the one layer between columns and score; 0: a straight line


@dataclasses.dataclass(frozen=True)
class Trial:
    """One setting that was tried: its options, what held-out response labels cost under it, and why it failed."""

    number: int
    settings: Mapping[str, Any]
    cost: float | None
    problem: str = ""


@dataclasses.dataclass(frozen=True)
class Search:
    """All that a search tried, in the order of trying."""

    trials: tuple[Trial, ...]

    @property
    def best(self) -> Trial:
        """The setting that costs least."""
        trained = [trial for trial in self.trials if trial.cost is not None]
        if not trained:
            why = self.trials[0].problem if self.trials else "none was tried"
            raise FractalError(f"No setting could be trained ({why}): train once without tuning first.")
        return min(trained, key=lambda trial: trial.cost or 0.0)


def tune(
    records: Sequence[Response | Preference],
    make: Callable[[Mapping[str, Any]], SentenceScorer],
    *,
    study: str | Path,
    trials: int = 30,
    seed: int = 0,
    on_trial: Callable[[Trial], object] = lambda trial: None,
) -> Search:
    """Try settings until so many are known in all; `make` gives a fresh scorer with the settings of a trial.

    The study is an SQLite file: a search that was stopped goes on, and one on other data is refused. Only labels that
    no head trained on count, so the lowest cost is honest but for the choice among so many trials.
    """
    if trials < 1:
        raise BadSpec(f"trials={trials}: give at least 1")
    optuna = _optuna()
    search = _opened(optuna, Path(study), _digest(records))
    binary = all(label in (0.0, 1.0) for label in _labels(records))
    while len(ended := _ended(search)) < trials:
        search.sampler = optuna.samplers.TPESampler(seed=seed + len(ended))  # so a resumed search makes the same steps
        asked = search.ask()
        trial = _tried(asked.number, suggested(asked, binary), records, make)
        asked.set_user_attr("settings", json.dumps(dict(trial.settings)))
        asked.set_user_attr("problem", trial.problem)
        failed = optuna.trial.TrialState.FAIL
        search.tell(asked, trial.cost) if trial.cost is not None else search.tell(asked, state=failed)
        on_trial(trial)
    return Search(
        tuple(
            Trial(one.number, json.loads(one.user_attrs["settings"]), one.value, one.user_attrs["problem"])
            for one in _ended(search)
        )
    )


def suggested(asked: Any, binary: bool) -> dict[str, Any]:
    """Let the search choose: aggregation, recipe, priors, and the plan."""
    weight = asked.suggest_float("cosine prior", 0.005, 0.5, log=True)
    return {
        "aggregation": asked.suggest_categorical("aggregation", BINARY if binary else GRADED),
        "recipe": asked.suggest_categorical("recipe", RECIPES),
        "prior": [f"cosine(weight={weight:.3g})"] if asked.suggest_categorical("use the prior", [False, True]) else [],
        "set": {
            "learning_rate": float(f"{asked.suggest_float('learning_rate', 3e-4, 1e-2, log=True):.3g}"),
            "weight_decay": float(f"{asked.suggest_float('weight_decay', 1e-4, 1e-1, log=True):.3g}"),
            "dropout": asked.suggest_float("dropout", 0.0, 0.5, step=0.05),
            "hidden": [units] if (units := asked.suggest_categorical("hidden", UNITS)) else [],
            "rounds": asked.suggest_int("rounds", 0, 2),
        },
    }


def options_of(settings: Mapping[str, Any]) -> str:
    """Return settings as TOML, to train with by `fractal train --config`."""
    plain = {name: value for name, value in settings.items() if not isinstance(value, Mapping)}
    lines = [f"{name} = {json.dumps(value)}" for name, value in plain.items()]
    for name, inner in settings.items():
        if isinstance(inner, Mapping):
            lines += ["", f"[{name}]", *(f"{_key(key)} = {json.dumps(value)}" for key, value in inner.items())]
    return "\n".join(lines) + "\n"


def _key(name: str) -> str:
    return name if name.replace("_", "").replace("-", "").isalnum() and name.isascii() else json.dumps(name)


def plot_trials(search: Search) -> Figure:
    """Draw the cost of every trial, and the lowest so far."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtra("Plotting", "plots", "matplotlib") from error
    trained = [trial for trial in search.trials if trial.cost is not None]
    numbers, costs = [trial.number + 1 for trial in trained], [trial.cost or 0.0 for trial in trained]
    figure = Figure(figsize=(4.2, 3.4), layout="constrained")
    axes = figure.add_subplot()
    axes.plot(numbers, costs, "o", color="#1f5f99", label="a trial")
    lowest = [min(costs[: place + 1]) for place in range(len(costs))]
    axes.step(numbers, lowest, where="post", color="#b4540a", label="the lowest so far")
    axes.set(xlabel="trial", ylabel="cost of held-out response labels")
    axes.legend(frameon=False)
    return figure


def _tried(
    number: int,
    settings: dict[str, Any],
    records: Sequence[Response | Preference],
    make: Callable[[Mapping[str, Any]], SentenceScorer],
) -> Trial:
    """Train under some settings; what cannot be trained is told and counts as tried."""
    try:
        return Trial(number, settings, float(make(settings).fit(records).cost_))
    except FractalError as error:
        return Trial(number, settings, None, str(error))


def _optuna() -> Any:
    try:
        import optuna
    except ImportError as error:
        raise MissingExtra("Tuning", "tune", "optuna") from error
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna


def _opened(optuna: Any, path: Path, digest: str) -> Any:
    from sqlalchemy.exc import SQLAlchemyError

    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        storage = optuna.storages.RDBStorage(f"sqlite:///{path}")
        search = optuna.create_study(storage=storage, study_name="fractal", direction="minimize", load_if_exists=True)
    except SQLAlchemyError as error:
        raise BadFolder(
            f"{path} is no study that can be opened: give another --study, or the file of a search"
        ) from error
    if search.user_attrs.get("data", digest) != digest:
        raise BadFolder(f"{path} is a search on other data: give another --study, or the same data")
    search.set_user_attr("data", digest)
    return search


def _ended(search: Any) -> list[Any]:
    """The trials that came to an end; one that was killed on the way is tried again."""
    return [trial for trial in search.get_trials(deepcopy=False) if trial.state.is_finished()]


def _labels(records: Sequence[Response | Preference]) -> list[float]:
    return [record.label for record in records if isinstance(record, Response) and record.label is not None]


def _digest(records: Sequence[Response | Preference]) -> str:
    """What tells data apart: the texts, and the labels of the responses."""
    digest = hashlib.blake2b(digest_size=16)
    for record in records:
        parts = (record.better, record.worse) if isinstance(record, Preference) else (record,)
        for response in parts:
            digest.update(f"{response.query}\0{response.text}\0{response.label}\0".encode("utf-8", "surrogatepass"))
    return digest.hexdigest()
