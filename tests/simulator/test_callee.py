"""Whom a mock call reaches, on a media server of the test's."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from tests.simulator.mediaserver import MediaServer, media_server, ulaw_tone
from voicecall.call.events import CallAnswered, CallEvent
from voicecall.clock import ManualClock, SystemClock
from voicecall.errors import ConfigError
from voicecall.ports import DialRequest
from voicecall.simulator import Callee, Engines, Pickup, callee
from voicecall.speech.tts.scripted import ScriptedTextToSpeech

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

pytestmark = pytest.mark.socket

CLOCK = SystemClock()
BRIEF = "{steps: [{do: 'say', text: 'Hi'}, {do: 'press', digits: '12'}, {do: 'hangUp'}]}"


def request(stream_url: str | None) -> DialRequest:
    return DialRequest(
        call_id="c-1",
        to="+15550001234",
        from_number="+15550001111",
        mode="conversation",
        stream_url=stream_url,
        ring_timeout_ms=30_000,
    )


class Line:
    """A callee, a server for its media, and what the carrier is told."""

    def __init__(self, server: MediaServer) -> None:
        self.server = server
        self.events: list[CallEvent] = []
        self.answered = asyncio.Event()
        self.pickups: list[Pickup] = []

    async def emit(self, event: CallEvent) -> None:
        self.events.append(event)
        self.answered.set()

    def callee(self, kind: Any, script: Path | None = None, **options: Any) -> Callee:
        voice = Engines(ScriptedTextToSpeech(), None)
        given = {"on_pickup": self.pickups.append, "engines": voice, **options}
        return Callee(kind, script, CLOCK, **given)


def on_the_line(case: Callable[[Line], Awaitable[None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(10), media_server() as server:
            await case(Line(server))

    asyncio.run(bounded())


@pytest.fixture
def brief(tmp_path: Path) -> Path:
    path = tmp_path / "brief.json5"
    path.write_text(BRIEF)
    return path


def test_it_answers_follows_its_script_and_hangs_up(brief: Path) -> None:
    async def case(line: Line) -> None:
        steps: list[str] = []
        answering = line.callee("auto", brief, on_step=lambda step: steps.append(step.do))
        await answering.ring(request(line.server.url), "CA1", line.emit)
        (answered,) = line.events
        assert isinstance(answered, CallAnswered)
        assert (answered.call_id, answered.provider_call_id) == ("c-1", "CA1")
        assert line.server.of("start")[0]["start"]["callSid"] == "CA1"
        assert [each["dtmf"]["digit"] for each in line.server.of("dtmf")] == ["1", "2"]
        assert line.server.of("stop")
        assert steps == ["say", "press", "hangUp"]
        (pickup,) = line.pickups
        assert [step.do for step in pickup.steps] == steps
        assert [said.text for said in pickup.phone.said] == ["Hi"]
        assert pickup.failure is None
        await answering.close()

    on_the_line(case)


def test_a_call_that_ends_before_the_script_is_noted(tmp_path: Path) -> None:
    script = tmp_path / "patient.json5"
    script.write_text("{steps: [{do: 'listen'}, {do: 'hangUp'}]}")

    async def case(line: Line) -> None:
        ringing = asyncio.create_task(
            line.callee("auto", script).ring(request(line.server.url), "CA1", line.emit)
        )
        await line.server.wait_for("media")
        await line.server.connections[-1].close()
        await ringing
        (pickup,) = line.pickups
        assert pickup.failure == "the call ended before the script did"
        assert [step.do for step in pickup.steps] == ["listen"]

    on_the_line(case)


def test_a_step_that_takes_too_long_ends_the_call(tmp_path: Path) -> None:
    script = tmp_path / "impatient.json5"
    script.write_text("{steps: [{do: 'listen', withinMs: 50}]}")

    async def case(line: Line) -> None:
        await line.callee("auto", script).ring(request(line.server.url), "CA1", line.emit)
        (pickup,) = line.pickups
        assert pickup.failure == "steps[0] (listen) was not done within 50 ms"
        assert line.server.of("stop")

    on_the_line(case)


def test_an_echo_says_back_what_it_hears_until_the_line_is_closed() -> None:
    async def case(line: Line) -> None:
        ringing = asyncio.create_task(
            line.callee("echo").ring(request(line.server.url), "CA1", line.emit)
        )
        await line.server.wait_for("media")
        loud = asyncio.Event()

        def listen(message: dict[str, Any]) -> None:
            if message["media"]["payload"].strip("/8=") != "":
                loud.set()

        line.server.on_media = listen
        await line.server.send_media(ulaw_tone(100))
        await loud.wait()
        await line.server.connections[-1].close()
        await ringing

    on_the_line(case)


def test_without_media_it_stays_until_the_caller_hangs_up() -> None:
    async def case(line: Line) -> None:
        ringing = asyncio.create_task(line.callee("auto").ring(request(None), "CA1", line.emit))
        await line.answered.wait()
        assert not ringing.done()
        ringing.cancel()
        await asyncio.wait({ringing})
        assert ringing.cancelled()
        assert line.pickups == []

    on_the_line(case)


def test_a_hang_up_in_the_middle_frees_the_phone() -> None:
    async def case(line: Line) -> None:
        ringing = asyncio.create_task(
            line.callee("echo").ring(request(line.server.url), "CA1", line.emit)
        )
        await line.server.wait_for("media")
        ringing.cancel()
        await asyncio.wait({ringing})
        await line.server.ended.wait()
        assert line.server.of("stop")

    on_the_line(case)


def test_keys_that_are_sent_on_answer_are_heard_without_their_pauses() -> None:
    async def case(line: Line) -> None:
        dialled = replace(request(line.server.url), dtmf_sequence="ww1w2#")
        ringing = asyncio.create_task(line.callee("echo").ring(dialled, "CA1", line.emit))
        await line.server.wait_for("media")
        assert line.pickups[0].phone.keys_heard == "12#"
        ringing.cancel()
        await asyncio.wait({ringing})

    on_the_line(case)


def test_keys_are_heard_by_the_phone_of_their_call_only() -> None:
    async def case(line: Line) -> None:
        answering = line.callee("echo")
        ringing = asyncio.create_task(answering.ring(request(line.server.url), "CA1", line.emit))
        await line.server.wait_for("media")
        await answering.press("CA1", "12")
        await answering.press("CA2", "99")
        await answering.press("CA1", "#")
        assert line.pickups[0].phone.keys_heard == "12#"
        ringing.cancel()
        await asyncio.wait({ringing})
        # It is over: nobody hears them, and that is nobody's fault.
        await answering.press("CA1", "0")
        assert line.pickups[0].phone.keys_heard == "12#"

    on_the_line(case)


def test_its_own_engines_are_made_at_the_first_call_and_closed_with_it(
    brief: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Engines] = []
    closed: list[str] = []

    class Voice(ScriptedTextToSpeech):
        async def close(self) -> None:
            closed.append("voice")

    def local_engines(_: object) -> Engines:
        made.append(Engines(Voice(), None))
        return made[-1]

    monkeypatch.setattr(callee, "local_engines", local_engines)

    async def case(line: Line) -> None:
        answering = line.callee("auto", brief, engines=None)
        assert made == []
        for number in range(2):
            await answering.ring(request(line.server.url), f"CA{number}", line.emit)
        assert len(made) == 1
        assert closed == []
        await answering.close()
        await answering.close()
        assert closed == ["voice"]

    on_the_line(case)


def test_engines_that_were_given_stay_open(brief: Path) -> None:
    closed: list[str] = []

    class Voice(ScriptedTextToSpeech):
        async def close(self) -> None:
            closed.append("voice")

    async def case(line: Line) -> None:
        answering = line.callee("auto", brief, engines=Engines(Voice(), None))
        await answering.ring(request(line.server.url), "CA1", line.emit)
        await answering.close()
        assert closed == []

    on_the_line(case)


def test_a_script_that_is_none_is_told_at_once(tmp_path: Path) -> None:
    script = tmp_path / "broken.json5"
    script.write_text("{steps: []}")
    with pytest.raises(ConfigError, match=r"broken\.json5: steps"):
        Callee("auto", script, ManualClock())
