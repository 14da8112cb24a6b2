"""Passwords, keys and tokens: what is secret is shown once and kept as a hash."""

from __future__ import annotations

import hashlib
import secrets
import threading
import time

from fractal.errors import BadData

__all__ = ["ROLES", "OneTimeLinks", "allows", "hash_password", "hash_token", "new_key", "verify_password"]

ROLES = ("reader", "annotator", "admin")
SHORTEST_PASSWORD = 10
LINK_SECONDS = 3_600.0


def allows(role: str, needed: str) -> bool:
    """Whether a role may do what needs another one."""
    return role in ROLES and ROLES.index(role) >= ROLES.index(needed)


def hash_token(token: str) -> str:
    """Return what is kept of a token that nobody could guess."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def new_key() -> tuple[str, str, str]:
    """Return a new API key, how people know it, and what is kept of it."""
    prefix = secrets.token_hex(4)
    key = f"fr_{prefix}_{secrets.token_urlsafe(32)}"
    return key, f"fr_{prefix}", hash_token(key)


def hash_password(password: str) -> str:
    """Return a password's argon2 hash."""
    from argon2 import PasswordHasher

    if len(password) < SHORTEST_PASSWORD:
        raise BadData(
            f"the password has {len(password)} characters: take at least {SHORTEST_PASSWORD}", field="password"
        )
    return PasswordHasher().hash(password)


def verify_password(hashed: str, password: str) -> bool:
    """Whether a password is the one; takes as long where there is none to compare with."""
    from argon2 import PasswordHasher
    from argon2.exceptions import Argon2Error, InvalidHashError

    hasher = PasswordHasher()
    try:
        return hasher.verify(hashed or _stand_in(), password) and bool(hashed)
    except (Argon2Error, InvalidHashError):
        return False


_STAND_IN: list[str] = []


def _stand_in() -> str:
    if not _STAND_IN:
        _STAND_IN.append(hash_password(secrets.token_hex(16)))
    return _STAND_IN[0]


class OneTimeLinks:
    """Tokens that let a browser in once, for an hour; they live in this process alone."""

    def __init__(self) -> None:
        self._tokens: dict[str, float] = {}
        self._lock = threading.Lock()

    def make(self) -> str:
        """Return a new token."""
        token = secrets.token_urlsafe(24)
        with self._lock:
            self._tokens[hash_token(token)] = time.monotonic() + LINK_SECONDS
        return token

    def use(self, token: str) -> bool:
        """Whether a token is good; it never is again."""
        with self._lock:
            until = self._tokens.pop(hash_token(token), 0.0)
        return until > time.monotonic()


class Attempts:
    """Slows down who guesses passwords: a few wrong ones, then a wait that grows."""

    FREE, LONGEST = 5, 300.0

    def __init__(self) -> None:
        self._wrong: dict[str, tuple[int, float]] = {}
        self._lock = threading.Lock()

    def wait(self, name: str) -> float:
        """Return how many seconds the next attempt has to wait."""
        with self._lock:
            count, last = self._wrong.get(name, (0, 0.0))
        if count < self.FREE:
            return 0.0
        return max(0.0, last + min(self.LONGEST, 2.0 ** (count - self.FREE)) - time.monotonic())

    def note(self, name: str, right: bool) -> None:
        """Remember how an attempt went."""
        with self._lock:
            if right:
                self._wrong.pop(name, None)
                return
            if len(self._wrong) > 10_000:
                self._wrong.clear()
            count, _ = self._wrong.get(name, (0, 0.0))
            self._wrong[name] = (count + 1, time.monotonic())
