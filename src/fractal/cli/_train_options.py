"""The options of training: what a scorer is made with, from flags, `--set`, or a file of settings."""

from __future__ import annotations

import ast
import dataclasses
import functools
import json
import tomllib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from fractal.cli._options import TABLES, ReadOptions, pairs_of, with_table
from fractal.errors import BadSpec, suggestion

if TYPE_CHECKING:
    from fractal.scorers.aspects import AspectScorer
    from fractal.scorers.sentence import SentenceScorer

__all__ = ["ScorerOptions", "aspect_option", "config_option", "cut_for", "scorer_options", "task_option"]

WITH_FLAGS = (
    "aggregation",
    "recipe",
    "encoder",
    "splitter",
    "priors",
    "plan",
    "self_training",
    "tune",
    "cache",
    "task",
    "workers",
    "control",
)  # have flags


@dataclasses.dataclass(frozen=True)
class ScorerOptions:
    """What a scorer is made with, as it was given."""

    aggregation: str = "auto"
    recipe: str = "auto"
    encoder: str = "minilm"
    priors: tuple[str, ...] = ()
    settings: tuple[str, ...] = ()
    seed: int | None = None
    tune: str | None = None
    cache: str | None = None
    no_cache: bool = False
    workers: str = "auto"
    control: tuple[str, ...] = ()

    def scorer(self, splitter: str, **changes: Any) -> SentenceScorer:
        """Return the scorer that the options describe, not trained yet."""
        from fractal.ensemble.self_training import SelfTraining
        from fractal.mil.training.plan import TrainingPlan
        from fractal.scorers.sentence import SentenceScorer

        plan, rounds, whole = self._settings()
        if self.seed is not None:
            plan["seed"] = self.seed
        recipe: Any = self.recipe.split() if " " in self.recipe else self.recipe
        options: dict[str, Any] = {
            "aggregation": self.aggregation,
            "recipe": recipe,
            "encoder": self.encoder,
            "splitter": splitter,
            "priors": self.priors,
            "plan": _built(TrainingPlan, plan),
            "self_training": _built(SelfTraining, rounds) if rounds else None,
            "tune": self.tune,
            "cache": False if self.no_cache else self.cache or True,
            "workers": self.workers,
            "control": self.control,
        }
        return SentenceScorer(**{**options, **whole, **changes})

    def of_aspects(
        self, splitter: str, aspects: Sequence[str], task: str | None = None
    ) -> SentenceScorer | AspectScorer:
        """Return a scorer of these aspects, each `NAME` or `NAME=SPEC`; without any, of the responses' own labels.

        A task states the aggregation where none was named.
        """
        if not aspects:
            return self.scorer(splitter, task=task)
        from fractal.ensemble.tasks import task_of
        from fractal.scorers.aspects import AspectScorer

        usual = self.aggregation if task is None or self.aggregation != "auto" else task_of(task).aggregation
        named = tuple(text if "=" in text else f"{text}={usual}" for text in aspects)
        return AspectScorer(pairs_of(named, "--aspect", "factual=product"), self.scorer(splitter))

    def _settings(self) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        """Sort `--set` by what it belongs to: the plan, the self-training, the scorer."""
        import inspect

        from fractal.ensemble.self_training import SelfTraining
        from fractal.mil.training.plan import TrainingPlan
        from fractal.scorers.sentence import SentenceScorer

        options = inspect.signature(SentenceScorer.__init__).parameters.items()
        homes: tuple[tuple[dict[str, Any], dict[str, Any]], ...] = (  # kinds and values by name
            ({field.name: field.type for field in dataclasses.fields(TrainingPlan)}, {}),
            ({field.name: field.type for field in dataclasses.fields(SelfTraining)}, {}),
            ({name: option.annotation for name, option in options if name not in ("self", *WITH_FLAGS)}, {}),
        )
        for name, text in pairs_of(self.settings, "--set", "epochs=30").items():
            kinds, home = next(((kinds, values) for kinds, values in homes if name in kinds), ({}, None))
            if home is None:
                names = sorted(set().union(*(kinds for kinds, _ in homes)))
                raise BadSpec(
                    f"--set: no option is called {name!r}.{suggestion(name, names)} Known: {', '.join(names)}."
                )
            home[name] = _typed(name, text, str(kinds[name]))
        return homes[0][1], homes[1][1], homes[2][1]


KINDS: dict[str, tuple[tuple[type, ...], str]] = {
    "int": ((int,), "a whole number"),
    "float": ((int, float), "a number"),
    "bool": ((bool,), "True or False"),
    "str": ((str,), "a word"),
}


def _typed(name: str, text: str, kind: str) -> Any:
    """Read a value of that kind, as annotations write it; of `tuple[int, ...]` one alone may stand without brackets."""
    value = _literal(text)
    if kind.startswith("tuple["):
        inner = kind.removeprefix("tuple[").partition(",")[0]
        parts = value if isinstance(value, list | tuple) else (value,)
        return tuple(_typed(name, str(part), inner) for part in parts)
    if kind == "str | float" and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if kind.startswith("str"):
        return value if isinstance(value, str) else text
    types, words = KINDS[kind]
    if not isinstance(value, types) or isinstance(value, bool) != (kind == "bool"):
        raise BadSpec(f"--set {name}={text}: give {words}")
    return value


def _literal(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return text


def _built(kind: Callable[..., Any], options: Mapping[str, Any]) -> Any:
    try:
        return kind(**options)
    except (TypeError, ValueError) as error:
        raise BadSpec(f"--set: {error}") from error


def _config(ctx: click.Context, parameter: click.Parameter, path: str | None) -> str | None:
    """Let a file give what the flags do not; names are those of the flags, and `set` is a table."""
    if path is None:
        return None
    settings = _read(Path(path))
    parameters = {
        name.lstrip("-").replace("-", "_"): p for p in ctx.command.params for name in (p.name, *p.opts) if name
    }
    values: dict[str, Any] = {}
    for name, value in settings.items():
        owner = parameters.get(name.replace("-", "_"))
        if owner is None or owner.name is None or owner is parameter:
            words = sorted(word for word in parameters if len(word) > 1)
            raise BadSpec(f"{path}: no option is called {name!r}.{suggestion(name, words)} Known: {', '.join(words)}.")
        if isinstance(value, dict):  # a table: flags are merged into it key by key
            pairs = [f"{key}={_written(inner)}" for key, inner in value.items()]
            ctx.meta.setdefault(TABLES, {})[owner.name] = pairs
            continue
        pairs = value
        values[owner.name] = [pairs] if (owner.multiple or owner.nargs == -1) and isinstance(pairs, str) else pairs
    for name in ("sources", "gold", "valid"):  # files stand beside the file that names them
        if name in values:
            values[name] = _beside(Path(path), values[name])
    ctx.default_map = {**(ctx.default_map or {}), **values}
    return path


def _written(value: Any) -> str:
    return value if isinstance(value, str) else repr(value)


def _beside(config: Path, paths: Any) -> Any:
    if isinstance(paths, str):
        beside = config.parent / paths
        return str(beside) if beside.exists() else paths
    return [_beside(config, part) for part in paths]


def _read(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
        settings = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except OSError as error:
        raise BadSpec(f"{path} cannot be read: {error.strerror}") from error
    except RecursionError as error:
        raise BadSpec(f"{path} nests its values too deep: give names and values, one table deep") from error
    except ValueError as error:
        raise BadSpec(f"{path} is no {'JSON' if path.suffix == '.json' else 'TOML'}: {error}") from error
    if not isinstance(settings, dict):
        raise BadSpec(f'{path} must hold names and values, as in {{"aggregation": "product"}}')
    return settings


config_option = click.option(
    "--config",
    "--recipe-file",
    "config",
    is_eager=True,  # read before the other options look for their values
    expose_value=False,
    callback=_config,
    metavar="FILE",
    help="TOML or JSON with the same names as the flags; flags win, those of a table key by key.",
)

aspect_option = click.option(
    "--aspect",
    "aspects",
    multiple=True,
    callback=with_table,
    metavar="NAME[=SPEC]",
    help="Learn this label of several, under this aggregation. Repeatable.",
)

task_option = click.option(
    "--task",
    metavar="NAME",
    help="What is rated, which states the direction: factuality or reasoning (one bad sentence makes a response bad), "
    "retrieval (one good one makes it good), quality (all count). Steps are cut where it is reasoning.",
)

SCORER_OPTIONS = (
    click.option(
        "--aggregation", default="auto", show_default=True, metavar="SPEC", help="How sentences make up a response."
    ),
    click.option(
        "--recipe",
        default="auto",
        show_default=True,
        metavar="NAME",
        help="Features to learn from: a name of `fractal list recipes`, or features.",
    ),
    click.option(
        "--encoder", default="minilm", show_default=True, metavar="SPEC", help="What turns texts into vectors."
    ),
    click.option(
        "--prior",
        "priors",
        multiple=True,
        metavar="SPEC|auto",
        help="See `fractal list priors`; auto tries those that the labels bear out. Repeatable.",
    ),
    click.option(
        "--set",
        "settings",
        multiple=True,
        callback=with_table,
        metavar="KEY=VALUE",
        help="Any option of plan, self-training or scorer, as in epochs=30.",
    ),
    click.option("--seed", type=int, help="Same seed, same scorer.  [default: 0]"),
    click.option(
        "--tune",
        metavar="NAME",
        help="Tune this encoder on the labels, as one more expert: minilm, mpnet, a folder or a name on the Hub.",
    ),
    click.option(
        "--control",
        multiple=True,
        metavar="FIELD",
        help="Take what this field alone explains of labels (author, meta.model, or length) out of them, so that "
        "sentence scores need not explain it. Repeatable.",
    ),
    click.option("--cache", metavar="FOLDER", help="Where vectors are kept."),
    click.option("--no-cache", is_flag=True, help="Keep no vectors."),
    click.option(
        "--workers",
        default="auto",
        show_default=True,
        metavar="N|auto",
        help="Processes that encode texts and lay columns in files; auto: one a core where memory is too small for "
        "a large training, else none beside this one.",
    ),
)


def scorer_options(function: Callable[..., Any]) -> Any:
    """Give a command the options of making a scorer; it receives them as one `options`."""

    @functools.wraps(function)
    def with_scorer_options(**parameters: Any) -> Any:
        values = {field.name: parameters.pop(field.name) for field in dataclasses.fields(ScorerOptions)}
        return function(**parameters, options=ScorerOptions(**values))

    chosen: Sequence[Callable[..., Any]] = (*SCORER_OPTIONS, config_option)
    return functools.reduce(lambda wrapped, option: option(wrapped), reversed(chosen), with_scorer_options)


def cut_for(task: str | None, reading: ReadOptions) -> ReadOptions:
    """Return how texts are read for a task: cut as suits it, where no splitter was named."""
    if task is None:
        return reading
    from fractal.ensemble.tasks import task_of

    named = click.get_current_context().get_parameter_source("splitter") is not ParameterSource.DEFAULT
    return reading if named else reading.changed(splitter=task_of(task).splitter)
