"""Command lines put together by chance: an exit code and a message, never a traceback, never another file changed."""

from __future__ import annotations

import json
import random
from collections import Counter

from fractal.cli import main
from fuzz.support import Run, cases, spoiled_bytes

SCORES = [
    {"id": f"r{number}", "sentences": ["One.", "Two."], "sentence_scores": [0.2, 0.9], "response_score": 0.2}
    | {"label": number % 2, "sentence_labels": [0, 1]}
    for number in range(6)
]
COMMANDS = ("inspect", "show", "evaluate", "export", "report", "train", "calibrate", "corrupt", "list", "cache", "plot")
WORDS = (
    *(
        "-o",
        "--json",
        "-q",
        "--on-error",
        "reject",
        "raise",
        "--rejects",
        "--reader",
        "--scale",
        "1..5",
        "5..5",
        "a..b",
    ),
    *("--levels", "3", "-1", "--column", "label=x", "=", "x", "--bootstrap", "0", "--to", "csv", "jsonl", "stepwise"),
    *("--limit", "--threshold", "nan", "1e999", "--aspect", "\x1b[2J", "--set", "epochs=1", "hidden=(999999999,)"),
    *(
        "--seed",
        "99999999999999999999",
        "--config",
        "--encoder",
        "hashing(dim=8)",
        "--dry-run",
        "csv(",
        "softmin((((",
        "-",
    ),
    *("--metric", "roc_auc", "--truth", "--against", "--labelled", "--splitter", "lines", "()", "--order", "best"),
)


def command_line(chance: random.Random, files: list[str]) -> list[str]:
    """Return a command with words and files in any order."""
    words = [
        chance.choice(files) if chance.random() < 0.4 else chance.choice(WORDS) for _ in range(chance.randint(0, 7))
    ]
    return [chance.choice(COMMANDS), *([files[0]] if chance.random() < 0.6 else []), *words]


def test_command_lines_end_in_a_code_and_a_message(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("FRACTAL_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    content = "".join(json.dumps(one) + "\n" for one in SCORES).encode()
    codes: Counter[int] = Counter()
    run = Run("command lines")
    for number, chance in cases():
        for name, what in (("a.jsonl", content), ("b.jsonl", spoiled_bytes(chance, content)), ("c.toml", b"a = 1\n")):
            (tmp_path / name).write_bytes(what)
        (tmp_path / "out.csv").unlink(missing_ok=True)
        args = command_line(chance, ["a.jsonl", "b.jsonl", "c.toml", "out.csv", "missing.jsonl", str(tmp_path)])
        with run.case(f"case {number}: {args}"):
            try:
                main(args)
            except SystemExit as ended:
                codes[int(ended.code or 0)] += 1
                run.count(f"exit {ended.code or 0}")
        out, err = capsys.readouterr()
        assert "Traceback" not in err, args
        assert "\x1b" not in out + err, args
        outputs = [args[place + 1] for place in range(len(args) - 1) if args[place] in ("-o", "--rejects")]
        if not any("a.jsonl" in output for output in outputs):
            assert (tmp_path / "a.jsonl").read_bytes() == content, args
    run.close()
    assert set(codes) <= {0, 1, 2}
