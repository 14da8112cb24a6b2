"""What the text form of components obeys: it comes back, it is data and never code, and mistakes are explained."""

from __future__ import annotations

import dataclasses
import math
import pickle

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fractal.errors import BadSpec, FractalError, UnknownName
from fractal.registry import Registry, parse

PARTS: Registry[object] = Registry("part")


@PARTS.register("knob")
@dataclasses.dataclass(frozen=True)
class Knob:
    """A thing to turn.

    More about it.
    """

    turn: object = 1.0
    label: str = "x"
    where: tuple[object, ...] = ()


@PARTS.register("needy")
@dataclasses.dataclass(frozen=True)
class Needy:
    """A thing that must be told its size."""

    size: int

    def __post_init__(self) -> None:
        if self.size < 0:
            raise ValueError("a size is at least 0")


@PARTS.register("plain")
def plain() -> None:
    """A function."""


numbers = st.integers(-(10**30), 10**30) | st.floats(allow_nan=False)
scalars = st.none() | st.booleans() | numbers | st.text(max_size=20)
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=3).map(tuple), max_leaves=6)


@given(turn=values, label=st.text(max_size=40), where=st.lists(values, max_size=3).map(tuple))
@example(turn=math.inf, label="", where=(-math.inf, (math.inf,)))
@example(turn=-0.0, label="'\"\\\n\0", where=("\ud800",))
@example(turn=10**30, label=")", where=((),))
def test_a_component_comes_back_from_its_text(turn, label, where):
    knob = Knob(turn, label, where)
    again = PARTS.build(PARTS.spec(knob))
    assert again == knob
    assert hash(again) == hash(knob)


@given(size=st.integers(0))
def test_a_required_option_is_always_written(size):
    assert PARTS.spec(Needy(size)) == f"needy(size={size})"
    assert PARTS.build(f"needy(size={size})") == Needy(size)


@pytest.mark.parametrize("spec", ["knob", "knob()", " knob ( ) ", "knob(turn=1.0)"])
def test_defaults_are_left_out(spec):
    assert PARTS.spec(PARTS.build(spec)) == "knob"


def test_a_component_and_a_function_pass_through():
    knob = Knob(2)
    assert PARTS.build(knob) is knob
    assert PARTS.build("plain") is plain
    assert PARTS.spec(plain) == "plain"


def test_a_list_becomes_hashable():
    assert PARTS.build("knob(where=[1, [2, 3]])") == Knob(where=(1, (2, 3)))
    assert hash(PARTS.build("knob(where=[1, [2]])")) == hash(Knob(where=(1, (2,))))


@given(text=st.text(max_size=60) | st.text(alphabet="knobturn(=)[]{},'\"\\ 1.0e-+*:\n#\0\t_", max_size=40))
@example(text="knob(" * 300)
@example(text="knob(turn=" + "(" * 900 + ")" * 900 + ")")
@example(text="knob(turn=" + "-" * 1500 + "1)")
@example(text="knob(turn=" + "9" * 1900 + ")")
@example(text="knob(label='" + "a" * 5000 + "')")
@example(text="\ud800")
@example(text="")
def test_any_text_builds_or_is_refused_as_the_users_mistake(text):
    try:
        built = PARTS.build(text)
    except FractalError:
        return
    assert isinstance(built, Knob | Needy) or built is plain


@pytest.mark.parametrize(
    "spec",
    [
        "__import__('os').system('true')",
        "knob(turn=__import__('os'))",
        "knob(turn=open('/etc/passwd').read())",
        "knob(turn=lambda: 1)",
        "knob(turn=[x for x in (1, 2)])",
        "knob(turn=f'{1}')",
        "knob(turn=1 if True else 2)",
        "knob(**{'turn': 1})",
        "knob(*[1])",
        "knob(1)",
        "knob.turn",
        "knob[0]",
        "knob(turn=1); knob",
        "(knob)(turn=1)(turn=2)",
        "knob(turn={'a': 1})",
        "knob(turn={1, 2})",
        "knob(turn=[{}])",
        "knob(turn=b'bytes')",
        "knob(turn=1, turn=2)",
        "knob(turn=9**9**9)",
        "3",
        "'knob'",
        "knob\0",
    ],
)
def test_a_specification_is_data_never_code(spec):
    with pytest.raises(BadSpec):
        PARTS.build(spec)


def test_an_unknown_name_gets_a_guess_and_the_known_names():
    with pytest.raises(
        UnknownName, match=r"No part is called 'knop'\. Did you mean 'knob'\? Known: knob, needy, plain"
    ):
        PARTS.build("knop")
    with pytest.raises(UnknownName, match="Known"):
        PARTS.summary("zzzzzz")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("knob(trun=1)", "has no option 'trun'. Did you mean 'turn'\\? It takes turn, label, where"),
        ("plain(a=1)", "takes no options"),
        ("needy", "size"),
        ("needy(size=-1)", "a size is at least 0"),
        ("needy(size='x')", "cannot be built"),
        ("knob(label=blue)", "Put quotes around it: label='blue'"),
        ("knob(3)", "name every option"),
        ("knob(turn=1, turn=2)", "'turn' twice"),
    ],
)
def test_a_mistake_is_explained(spec, message):
    with pytest.raises(BadSpec, match=message):
        PARTS.build(spec)


def test_what_was_never_registered_has_no_text():
    with pytest.raises(BadSpec, match="no registered part"):
        PARTS.spec(len)


def test_two_components_cannot_share_a_name():
    with pytest.raises(BadSpec, match="Two components"):
        PARTS.register("knob")(Needy)


def test_what_a_registry_tells():
    assert list(PARTS) == ["knob", "needy", "plain"]
    assert "knob" in PARTS
    assert "knop" not in PARTS
    assert PARTS.summary("knob") == "A thing to turn."
    assert [option.name for option in PARTS.options("knob")] == ["turn", "label", "where"]
    assert PARTS.options("needy")[0].default is dataclasses.MISSING
    assert PARTS.options("plain") == ()


@given(name=st.sampled_from(["softmin", "a_b"]), options=st.dictionaries(st.sampled_from(["a", "b"]), values))
def test_parse_takes_the_text_apart(name, options):
    written = ", ".join(f"{key}={_written(value)}" for key, value in options.items())
    assert parse(f"{name}({written})") == (name, options)


def _written(value: object) -> str:
    if isinstance(value, tuple):
        return "[" + ", ".join(map(_written, value)) + "]"
    return repr(value).replace("inf", "1e999") if isinstance(value, float) else repr(value)


def test_what_parse_returns_is_not_shared():
    parse("knob(turn=1)")[1]["turn"] = 5
    assert parse("knob(turn=1)") == ("knob", {"turn": 1})


def test_components_pickle():
    assert pickle.loads(pickle.dumps(Knob(2))) == Knob(2)


class _Entry:
    """What an installed package would announce."""

    def __init__(self, name: str, loaded: object) -> None:
        self.name, self.value, self._loaded = name, f"somewhere:{name}", loaded

    def load(self) -> object:
        if isinstance(self._loaded, Exception):
            raise self._loaded
        return self._loaded


def test_other_packages_add_components_and_a_broken_one_is_named(monkeypatch):
    entries = [_Entry("broken", ImportError("no such thing")), _Entry("extra", plain)]
    monkeypatch.setattr("importlib.metadata.entry_points", lambda group: entries if group == "fractal.odd_part" else [])
    registry: Registry[object] = Registry("odd part")
    with pytest.warns(UserWarning, match="'broken'.*no such thing"):
        assert registry.names() == ("extra",)
    assert registry.build("extra") is plain
