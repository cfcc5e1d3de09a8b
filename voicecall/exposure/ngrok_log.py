"""What an ngrok agent's JSON log says about its tunnel: lines in, state out."""

from __future__ import annotations

import json
import re
from collections import deque
from typing import Any, Final

# How much of what the agent said goes into an error.
MAX_REASON_CHARS: Final = 300
_LAST_WORDS: Final = 5
_CODE = re.compile(r"ERR_NGROK_[0-9]+")
# The agent repeats a token that it does not like.
_TOKEN = re.compile(r"(authtoken:?\s+)[A-Za-z0-9_-]{16,}", re.IGNORECASE)
_SEVERE: Final = frozenset({"eror", "error", "crit"})

_ACCOUNT_ADVICE: Final = (
    "copy the authtoken of your account from https://dashboard.ngrok.com/get-started/your-authtoken"
    " into tunnel.ngrokAuthToken or NGROK_AUTHTOKEN"
)
_DOMAIN_ADVICE: Final = (
    "tunnel.ngrokDomain has to be a domain of this account: https://dashboard.ngrok.com/domains"
)
_VERSION_ADVICE: Final = "the agent is too old for the service; run: ngrok update"
# What mends the errors that newcomers meet; all others have a page of their own.
ADVICE: Final = {
    "ERR_NGROK_105": _ACCOUNT_ADVICE,
    "ERR_NGROK_107": _ACCOUNT_ADVICE,
    "ERR_NGROK_4018": _ACCOUNT_ADVICE,
    "ERR_NGROK_108": (
        "another agent of this account is running and the account allows no second one; stop that "
        "one, or see https://dashboard.ngrok.com/agents"
    ),
    "ERR_NGROK_334": (
        "another agent serves this domain; stop that one, or set another tunnel.ngrokDomain"
    ),
    "ERR_NGROK_319": _DOMAIN_ADVICE,
    "ERR_NGROK_320": _DOMAIN_ADVICE,
    "ERR_NGROK_120": _VERSION_ADVICE,
    "ERR_NGROK_121": _VERSION_ADVICE,
}


class AgentLog:
    """Follows one agent's log.

    Attributes:
        url: where the tunnel is reached now; None while it is not.
    """

    def __init__(self) -> None:
        self.url: str | None = None
        self._assigned: str | None = None
        self._error = ""
        self._words: deque[str] = deque(maxlen=_LAST_WORDS)

    def read(self, line: str) -> None:
        """Take in one line; one that is no JSON object is kept as last words."""
        try:
            entry = json.loads(line)
        except ValueError:
            entry = None
        if isinstance(entry, dict):
            self._take(entry)
        elif line.strip():
            self._words.append(line.strip())

    @property
    def code(self) -> str | None:
        """The service's code of what went wrong last, such as `ERR_NGROK_4018`."""
        found = _CODE.findall(self._told())
        return found[-1] if found else None

    @property
    def trouble(self) -> str:
        """What went wrong last and what to do about it; empty when nothing was said of it."""
        told = " ".join(_TOKEN.sub(r"\1***", self._told()).split())
        if len(told) > MAX_REASON_CHARS:
            told = f"{told[:MAX_REASON_CHARS]}…"
        code = self.code
        if code is None:
            return told
        page = f"https://ngrok.com/docs/errors/{code.lower()}"
        return f"{told} - {ADVICE.get(code, f'see {page}')}"

    def _take(self, entry: dict[str, Any]) -> None:
        message, error = entry.get("msg"), entry.get("err")
        if message == "started tunnel":
            self._reached(entry.get("url"))
        elif message == "session closed, starting reconnect loop":
            self.url = None
        elif message == "client session established":
            # After a reconnection tunnels keep their URLs, unless another one is told.
            self.url = self._assigned
        if entry.get("lvl") in _SEVERE and isinstance(error, str):
            self._error = error

    def _reached(self, url: object) -> None:
        if not isinstance(url, str) or not url.startswith(("https://", "http://")):
            return
        # Old agents start a tunnel for each scheme; carriers want the encrypted one.
        if url.startswith("http://") and (self.url or "").startswith("https://"):
            return
        self.url = self._assigned = url.rstrip("/")
        self._error = ""

    def _told(self) -> str:
        return self._error or " ".join(self._words)
