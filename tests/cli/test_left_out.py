"""Records that are left out: counted on stderr and in --json by every command, and never written over other files."""

from __future__ import annotations

import json

import pytest

from fractal.cli import main

SCORES = [
    {"id": f"r{number}", "sentences": ["One.", "Two."], "sentence_scores": [0.2, 0.9], "response_score": 0.2}
    | {"label": number % 2, "sentence_labels": [0, 1]}
    for number in range(6)
]


@pytest.fixture
def scores(tmp_path):
    """Six scored responses, and two records that are none."""
    path = tmp_path / "scores.jsonl"
    path.write_text("".join(json.dumps(one) + "\n" for one in [*SCORES[:3], {"id": "x"}, *SCORES[3:]]) + "{\n")
    return path


@pytest.fixture
def fractal(capsys):
    def run(*args: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main([str(arg) for arg in args])
        return int(ended.value.code or 0), *capsys.readouterr()

    return run


REJECTING = ("--on-error", "reject")


@pytest.mark.parametrize(
    "args",
    [
        ("show",),
        ("show", "-q"),
        ("evaluate", "--bootstrap", 0),
        ("export", "-o", "OUT.csv"),
        ("export", "-q", "-o", "OUT.csv"),
        ("report", "--bootstrap", 0, "-o", "OUT.html"),
        ("inspect", "-q", "--reader", "jsonl", "--column", "sentences=sentences"),
    ],
    ids=lambda args: " ".join(map(str, args)),
)
def test_every_command_says_how_many_records_it_left_out(fractal, scores, tmp_path, args):
    args = [str(tmp_path / arg) if str(arg).startswith("OUT") else arg for arg in args]
    code, _, err = fractal(args[0], scores, *args[1:], *REJECTING)
    assert code == 0
    assert f"{scores}: 2 records left out, 6 read; line 4:" in err


@pytest.mark.parametrize("args", [("evaluate", "--bootstrap", 0), ("export", "-o", "OUT.csv")], ids=lambda a: a[0])
def test_the_summary_counts_them(fractal, scores, tmp_path, args):
    args = [str(tmp_path / arg) if str(arg).startswith("OUT") else arg for arg in args]
    code, out, _ = fractal(args[0], scores, *args[1:], *REJECTING, "--json")
    assert code == 0
    assert json.loads(out)["rejected"] == 2


def test_rejects_may_not_be_another_file_of_the_command(fractal, scores, tmp_path):
    content = scores.read_bytes()
    for rejects, target in ((scores, "a.csv"), ("b.csv", "./b.csv"), ("c.csv", tmp_path / "c.csv")):
        path = tmp_path / rejects
        code, _, err = fractal("export", scores, "-o", tmp_path / target, *REJECTING, "--rejects", path)
        assert code == 2
        assert "give the rejects another file" in err
    truth = tmp_path / "truth.jsonl"
    truth.write_bytes(content)
    code, _, _ = fractal("evaluate", scores, "--truth", truth, *REJECTING, "--rejects", truth)
    assert (code, truth.read_bytes(), scores.read_bytes()) == (2, content, content)


def test_the_sources_of_a_command_share_one_file(fractal, scores, tmp_path):
    other, rejects = tmp_path / "other.jsonl", tmp_path / "rejects.jsonl"
    other.write_bytes(scores.read_bytes())
    code, _, err = fractal("evaluate", scores, "--against", other, "--bootstrap", 0, *REJECTING, "--rejects", rejects)
    assert code == 0
    assert err.count("2 records left out") == 2
    assert [json.loads(line)["source"] for line in rejects.read_text().splitlines()] == [str(scores)] * 2 + [
        str(other)
    ] * 2


def test_a_file_for_rejects_leaves_wrong_records_out_and_says_where_they_are(fractal, scores, tmp_path):
    rejects = tmp_path / "rejects.jsonl"
    code, _, err = fractal("show", scores, "--rejects", rejects)
    assert code == 0
    assert "2 records left out" in err
    assert str(rejects) in err
    assert len(rejects.read_text().splitlines()) == 2
    code, _, err = fractal("show", scores, "--rejects", rejects, "--on-error", "raise")
    assert code == 2
    assert "--on-error reject" in err
    code, _, err = fractal("show", scores)
    assert code == 2
    assert "--on-error reject leaves wrong records out" in err
