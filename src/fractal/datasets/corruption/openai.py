"""Corruption by a language model behind an endpoint that speaks OpenAI's protocol: hosted, vLLM, llama.cpp, Ollama."""

from __future__ import annotations

import dataclasses
import http.client
import json
import os
import time
import urllib.error
import urllib.request

from fractal.datasets.corruption.base import GENERATORS, GeneratorFailed
from fractal.datasets.corruption.prompts import Prompted

BUSY = {408, 409, 429, 500, 502, 503, 504}


@GENERATORS.register("openai")
@dataclasses.dataclass(frozen=True)
class OpenAI(Prompted):
    """Any OpenAI-compatible endpoint: `openai(base_url='http://127.0.0.1:8000/v1', model='…')`."""

    model: str = ""
    base_url: str = "https://api.openai.com/v1"
    key_variable: str = (
        "OPENAI_API_KEY"  # the environment's variable that holds the key; none is sent where it is empty
    )
    temperature: float = 1.0
    timeout: float = 60.0
    attempts: int = 4
    pause: float = 1.0  # seconds before the second attempt; doubled each time

    def __post_init__(self) -> None:
        if not self.base_url.startswith(("http://", "https://")):
            raise ValueError(f"base_url={self.base_url!r}: it begins with http:// or https://")

    def complete(self, prompt: str, seed: int) -> str | None:
        """Return the answer's text; nothing where the server was busy to the end or its answer has no text."""
        for attempt in range(self.attempts):
            if attempt:
                time.sleep(self.pause * 2 ** (attempt - 1))
            try:
                return self._ask(prompt, seed)
            except urllib.error.HTTPError as error:
                self._refused(error)
            except (http.client.HTTPException, TimeoutError, ConnectionResetError):
                continue
            except urllib.error.URLError as error:
                raise GeneratorFailed(
                    f"{self.base_url} cannot be reached ({error.reason}): is the server running, and the address right?"
                ) from error
        return None

    def _ask(self, prompt: str, seed: int) -> str | None:
        return text_of(self._send(prompt, seed))

    def _send(self, prompt: str, seed: int) -> bytes:
        wanted = {
            "model": self.model,
            "messages": [{"role": "user", "content": prompt}],
            "temperature": self.temperature,
            "seed": seed,
        }
        headers = {"Content-Type": "application/json"}
        if key := os.environ.get(self.key_variable, ""):
            headers["Authorization"] = f"Bearer {key}"
        url = f"{self.base_url.rstrip('/')}/chat/completions"
        request = urllib.request.Request(url, json.dumps(wanted).encode(), headers)
        with urllib.request.urlopen(request, timeout=self.timeout) as answer:
            content: bytes = answer.read()
        return content

    def _refused(self, error: urllib.error.HTTPError) -> None:
        reason = error.read(300).decode("utf-8", "replace").strip()
        error.close()
        if error.code not in BUSY:
            hint = f"set the variable {self.key_variable}" if error.code in (401, 403) else "check model and base_url"
            raise GeneratorFailed(f"{self.base_url} answers {error.code}: {reason[:200]} ({hint})") from error


def text_of(content: bytes) -> str | None:
    """Return the text of a completion, nothing where there is none."""
    try:
        text = json.loads(content)["choices"][0]["message"]["content"]
    except (ValueError, LookupError, TypeError):
        return None
    return text if isinstance(text, str) else None
