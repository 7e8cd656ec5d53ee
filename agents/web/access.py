"""Who may ask: keys, the address that is listened on, and the names that a browser may call it by."""

from __future__ import annotations

import ipaddress
import os
import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from cryptoenv.files.private_file import read_private

KEY_VARIABLE = "CRYPTOENV_SERVE_KEY"  #: environment variable of a service's key
SHORTEST_KEY = 16  #: characters
_KEY = re.compile(r"[!-~]+")
LOOPBACK_NAMES = ("localhost", "127.0.0.1", "[::1]")


class AccessError(ValueError):
    """Keys that cannot be used, or an address that may not be listened on with them."""


@dataclass(frozen=True, repr=False)
class Keys:
    """The keys that open a service; none: it is open to whoever reaches it.

    Attributes:
        texts: at least 16 printable characters each, no two alike.

    Raises:
        AccessError: a key that is too short, holds blanks, or stands twice.
    """

    texts: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for number, text in enumerate(self.texts, start=1):
            if len(text) < SHORTEST_KEY or not _KEY.fullmatch(text):
                raise AccessError(
                    f"key {number} is not allowed: at least {SHORTEST_KEY} printable characters without blanks; "
                    'python -c "import secrets; print(secrets.token_urlsafe(32))" makes one'
                )
        if len(set(self.texts)) != len(self.texts):
            raise AccessError("a key stands twice")

    def __repr__(self) -> str:
        return f"Keys({len(self.texts)} of them)"

    def __bool__(self) -> bool:
        return bool(self.texts)

    def number_of(self, given: bytes | None) -> int | None:
        """Which key was given, counted from 1; None where none of them was.

        Every key is compared, each in a time that says nothing of how alike they are.
        """
        found = None
        for number, text in enumerate(self.texts, start=1):
            if given is not None and secrets.compare_digest(given, text.encode("ascii")):
                found = number
        return found


def service_keys(file: Path | None, variable: str = KEY_VARIABLE) -> Keys:
    """Keys of a file, one a line, that nobody else may read; else the one of the environment; else none.

    Args:
        file: mode 600; lines that are empty or begin with # say nothing.
        variable: of the environment.

    Raises:
        AccessError: no key in the file, or one that cannot be used. PermissionError: others may read the file.
        FileNotFoundError: no such file.
    """
    if file is None:
        given = os.environ.get(variable, "")
        return Keys((given,)) if given else Keys()
    try:
        lines = [line.strip() for line in read_private(file).decode("ascii").splitlines()]
    except UnicodeDecodeError as error:
        raise AccessError(f"{file} holds other than ASCII characters") from error
    found = tuple(line for line in lines if line and not line.startswith("#"))
    if not found:
        raise AccessError(f"{file} holds no key: one a line")
    return Keys(found)


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address: an IP address, or "localhost"."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def require_safe_bind(host: str, keys: Keys, variable: str = KEY_VARIABLE) -> None:
    """Refuse to listen where others reach it without a key, which the environment's `variable` would have.

    Raises:
        AccessError: no key, and an address that is not this machine's own.
    """
    if not keys and not is_loopback(host):
        raise AccessError(
            f"{host} is reached from outside this machine, and there is no key: set {variable}, name a file of "
            "mode 600 that holds one, or listen on 127.0.0.1"
        )


def host_names(host: str, further: Iterable[str] = ()) -> tuple[str, ...] | None:
    """Names that a request's Host may have; None for any, where the server listens beyond this machine.

    A page of a stranger whose name leads to 127.0.0.1 would otherwise reach a server that is meant for this machine.

    Args:
        host: that is listened on.
        further: names that a proxy is reached by; where given, only these, the address itself and the loopback.
    """
    named = tuple(name.lower() for name in further)
    if not named and not is_loopback(host):
        return None
    return (*LOOPBACK_NAMES, host.lower(), *named)
