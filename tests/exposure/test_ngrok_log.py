"""What is understood of an ngrok agent's log."""

from __future__ import annotations

import json

import pytest

from voicecall.exposure.ngrok_log import ADVICE, AgentLog

pytestmark = pytest.mark.unit

URL = "https://abc.ngrok-free.app"


def entry(message: str, lvl: str = "info", **fields: str) -> str:
    return json.dumps({"lvl": lvl, "msg": message, "t": "2026-01-01T00:00:00Z", **fields})


def read(*lines: str) -> AgentLog:
    log = AgentLog()
    for line in lines:
        log.read(line)
    return log


def test_a_tunnel_is_known_once_it_is_started_and_not_before() -> None:
    log = read(entry("starting web service"), entry("client session established"))
    assert log.url is None
    log.read(entry("started tunnel", url=URL, addr="http://127.0.0.1:3334"))
    assert log.url == URL


def test_a_lost_session_takes_the_url_away_and_a_new_one_gives_it_back() -> None:
    log = read(entry("started tunnel", url=URL))
    log.read(entry("session closed, starting reconnect loop", "eror", err="EOF"))
    assert (log.url, log.trouble) == (None, "EOF")
    log.read(entry("client session established"))
    assert log.url == URL
    log.read(entry("started tunnel", url="https://other.ngrok-free.app"))
    assert (log.url, log.trouble) == ("https://other.ngrok-free.app", "")


def test_of_two_schemes_the_encrypted_one_counts() -> None:
    plain = entry("started tunnel", url="http://abc.ngrok-free.app")
    assert read(plain, entry("started tunnel", url=URL)).url == URL
    assert read(entry("started tunnel", url=URL), plain).url == URL


@pytest.mark.parametrize(
    "line",
    [
        entry("started tunnel", url="tcp://0.tcp.ngrok.io:10936"),
        entry("started tunnel"),
        json.dumps({"lvl": "info", "msg": "started tunnel", "url": 7}),
        json.dumps(["started tunnel", URL]),
        '{"msg": "started tunnel", "url": "https://cut',
        "",
    ],
)
def test_what_is_no_tunnel_of_ours_is_not_taken_for_one(line: str) -> None:
    assert read(line).url is None


def test_an_error_says_what_to_do() -> None:
    reason = "authentication failed: Usage of ngrok requires an account.\r\n\r\nERR_NGROK_4018\r\n"
    log = read(entry("failed to reconnect session", "eror", err=reason))
    assert log.code == "ERR_NGROK_4018"
    assert log.trouble.startswith("authentication failed: Usage of ngrok requires an account. ERR_")
    assert log.trouble.endswith(ADVICE["ERR_NGROK_4018"])
    assert "tunnel.ngrokAuthToken" in log.trouble


def test_an_error_that_we_know_nothing_of_names_its_page() -> None:
    log = read(entry("command failed", "crit", err="no such thing ERR_NGROK_9999"))
    assert log.trouble.endswith("see https://ngrok.com/docs/errors/err_ngrok_9999")


def test_what_was_no_json_are_the_last_words() -> None:
    log = read(*(f"ERROR: line {number}" for number in range(9)))
    assert log.trouble == " ".join(f"ERROR: line {number}" for number in range(4, 9))
    assert log.code is None


def test_a_token_that_the_agent_repeats_is_not_repeated() -> None:
    reason = "does not look like a token.\nYour authtoken: 2abcDEF_ghijKLMNOP123456\nERR_NGROK_105"
    assert "2abcDEF" not in read(entry("command failed", "crit", err=reason)).trouble


def test_an_endless_reason_is_cut() -> None:
    log = read(entry("command failed", "crit", err="far " * 1000 + "ERR_NGROK_108"))
    assert len(log.trouble) < 600
    assert log.trouble.endswith(ADVICE["ERR_NGROK_108"])


def test_what_only_informs_is_no_trouble() -> None:
    assert read(entry("join connections", err="EOF")).trouble == ""
