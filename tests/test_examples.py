"""Every example is run, and does what it says."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.hosting import free_port

# The voices and ears of the simulated people are real, and so is the time that they take.
pytestmark = [pytest.mark.e2e, pytest.mark.timed, pytest.mark.timeout(120)]

EXAMPLES = Path(__file__).parents[1] / "examples"
LIMIT_S = 90.0


def run(name: str, *arguments: str, folder: Path) -> str:
    """What an example prints."""
    done = subprocess.run(  # noqa: S603  (our own example)
        [sys.executable, EXAMPLES / name, *arguments],
        cwd=folder,
        env={"HOME": str(folder), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def words(text: str) -> set[str]:
    return set(re.findall(r"[a-z]+", text.lower()))


def test_every_example_is_listed_and_run_here() -> None:
    there = {path.name for path in EXAMPLES.glob("*.py")} - {"invocation.py"}
    rows = (EXAMPLES / "README.md").read_text()
    listed = set(re.findall(r"^\| \[(\w+\.py)\]", rows, re.MULTILINE))
    assert listed == there
    here = Path(__file__).read_text()
    assert [name for name in there if f'"{name}"' not in here] == []


def test_people_are_reminded(tmp_path: Path) -> None:
    told = run("appointment_reminder.py", folder=tmp_path)
    assert told.splitlines() == ["+15550001234: has heard it", "+15550005678: has heard it"]


def test_questions_are_answered(tmp_path: Path) -> None:
    told = json.loads(run("survey.py", folder=tmp_path))
    assert told["ended"] == "hangup-bot"
    assert "eight" in words(told["score"])
    assert {"waiting", "room"} <= words(told["reason"])


def test_a_caller_books_with_the_receptionist(tmp_path: Path) -> None:
    told = run("receptionist.py", folder=tmp_path).splitlines()
    assert told[:2] == [
        "call from +15550001234",
        "   bot: Riverside Clinic, good morning. How can I help?",
    ]
    assert "   bot: You have an appointment on Tuesday at ten." in told
    assert told[-1] == "booked: Tuesday"


def test_a_model_of_ones_own_hears_and_is_heard(tmp_path: Path) -> None:
    told = run("own_model.py", folder=tmp_path).splitlines()
    assert told[-1] == "ended: hangup-bot"
    heard = [float(line.split()[1]) for line in told if line.startswith("heard")]
    played = [float(line.split()[1]) for line in told if line.startswith("played")]
    assert len(heard) == len(played) == 2
    for before, after in zip(heard, played, strict=True):
        assert after == pytest.approx(before / 1.06, abs=0.15)


def test_a_web_application_places_calls(tmp_path: Path) -> None:
    port = free_port()
    command = [sys.executable, str(EXAMPLES / "fastapi_app.py"), "--port", str(port)]
    with (
        (tmp_path / "log").open("wb") as log,
        subprocess.Popen(  # noqa: S603  (our own example)
            command,
            cwd=tmp_path,
            env={"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"},
            stderr=log,
            stdout=log,
        ) as process,
    ):
        try:
            record = placed(f"http://127.0.0.1:{port}", process)
        finally:
            process.terminate()
            process.wait(timeout=30)
    assert record["endReason"] == "hangup-bot"
    assert [entry["text"] for entry in record["transcript"]] == ["Remember the milk."]


def placed(url: str, process: subprocess.Popen[bytes]) -> dict[str, Any]:
    """The record of a call that the application places, once it is over."""
    until = time.monotonic() + LIMIT_S
    with httpx.Client(base_url=url, timeout=10) as http:
        while True:
            assert process.poll() is None
            assert time.monotonic() < until
            try:
                assert http.get("/phone/healthz").status_code == 200
            except httpx.TransportError:
                time.sleep(0.1)
            else:
                break
        refused = http.post("/reminders", params={"to": "nobody", "text": "x"})
        assert refused.status_code == 422
        assert http.get("/reminders/none").status_code == 404
        answer = http.post(
            "/reminders", params={"to": "+15550001234", "text": "Remember the milk."}
        )
        assert answer.status_code == 201
        while time.monotonic() < until:
            record: dict[str, Any] = http.get(f"/reminders/{answer.json()['callId']}").json()
            if record.get("endReason"):
                return record
            time.sleep(0.1)
    raise AssertionError("the call does not end")
