from __future__ import annotations

import asyncio
import base64
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest

from tests.simulator.mediaserver import media_server
from voicecall.audio import from_pcm16
from voicecall.errors import CallHasEnded, ConfigError
from voicecall.llm.persona import builtin_persona
from voicecall.simulator import Engines, Phone, demo_script, load_script, run_script
from voicecall.simulator.script import (
    AwaitHangUp,
    HangUp,
    Interrupt,
    Listen,
    Press,
    Say,
    Script,
    Step,
    parse_script,
)
from voicecall.speech.tts.scripted import ScriptedTextToSpeech

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.socket

ENGINES = Engines(ScriptedTextToSpeech(), None)


def tones(text: str) -> bytes:
    async def collect() -> bytes:
        voice = ScriptedTextToSpeech()
        return b"".join([piece async for piece in voice.synthesize(text)])

    pcm = asyncio.run(collect())
    # Every third sample: from the voice's 24 kHz to the line's 8 kHz; it only has to be loud.
    thinned = b"".join(pcm[start : start + 2] for start in range(0, len(pcm), 6))
    return from_pcm16(thinned, "ulaw")


GREETING = tones("hello")
LECTURE = tones("a very long lecture about nothing in particular that nobody wants to hear")


def test_a_script_is_performed_step_by_step() -> None:
    async def case() -> None:
        script = Script(
            steps=(
                Listen(quiet_ms=200, within_ms=3000),
                Say(text="hi"),
                Interrupt(text="stop", after_ms=300, within_ms=3000),
                Press(digits="5"),
                AwaitHangUp(within_ms=3000),
            )
        )
        seen: list[str] = []
        async with media_server() as server:
            utterances: asyncio.Queue[None] = asyncio.Queue(8)
            silent_frames = 10

            def on_media(message: dict[str, Any]) -> None:
                nonlocal silent_frames
                loud = set(base64.b64decode(message["media"]["payload"])) != {0xFF}
                if loud and silent_frames >= 10:
                    utterances.put_nowait(None)
                silent_frames = 0 if loud else silent_frames + 1

            async def bot() -> None:
                await server.wait_for("start")
                await server.send_media(GREETING)
                await utterances.get()
                await server.send_media(LECTURE)
                await utterances.get()
                await server.send_clear()
                await server.wait_for("dtmf")
                await server.connections[0].close()

            server.on_media = on_media
            talking = asyncio.create_task(bot())
            async with Phone(server.url, call_sid="CA1", engines=ENGINES) as phone:
                done = await run_script(
                    phone, script, on_step=lambda index, step: seen.append(f"{index} {step.do}")
                )
            await talking
        assert seen == ["0 listen", "1 say", "2 interrupt", "3 press", "4 awaitHangUp"]
        assert [step.step for step in done] == list(script.steps)
        assert [said.text for said in phone.said] == ["hi", "stop"]
        cut_after_ms = done[2].cut_after_ms
        assert cut_after_ms is not None
        assert 0 <= cut_after_ms < 1000
        assert all(before.ended_ns <= after.began_ns for before, after in pairwise(done))

    asyncio.run(case())


@pytest.mark.parametrize(
    "step", [Listen(within_ms=80), Interrupt(text="a", within_ms=80), AwaitHangUp(within_ms=80)]
)
def test_a_step_that_takes_too_long_is_named(step: Step) -> None:
    async def case() -> None:
        async with (
            media_server() as server,
            Phone(server.url, call_sid="CA1", engines=ENGINES) as phone,
        ):
            with pytest.raises(TimeoutError, match=rf"steps\[0\] \({step.do}\).*80 ms"):
                await run_script(phone, Script(steps=(step,)))

    asyncio.run(case())


def test_after_hanging_up_nothing_can_be_said() -> None:
    async def case() -> None:
        async with (
            media_server() as server,
            Phone(server.url, call_sid="CA1", engines=ENGINES) as phone,
        ):
            with pytest.raises(CallHasEnded):
                await run_script(phone, Script(steps=(HangUp(), Say(text="anybody there"))))
            await server.ended.wait()
            assert server.received[-1]["event"] == "stop"

    asyncio.run(case())


def test_a_script_file_is_json5_with_camel_case_keys(tmp_path: Path) -> None:
    path = tmp_path / "caller.json5"
    path.write_text(
        """{steps: [  // a short call
          {do: "interrupt", text: "Stop!", afterMs: 1500, withinMs: 9000},
          {do: "hangUp"},
        ]}"""
    )
    steps = (Interrupt(text="Stop!", after_ms=1500, within_ms=9000), HangUp())
    assert load_script(path) == Script(steps=steps)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("{", "not JSON5"),
        ("{}", "steps: Field required"),
        ("{steps: []}", "steps: Tuple should have at least 1 item"),
        ("{steps: [{do: 'dance'}]}", r"steps\[0\]: .*dance"),
        ("{steps: [{do: 'say'}]}", r"steps\[0\].say.text: Field required"),
        ("{steps: [{do: 'say', text: ' '}]}", r"steps\[0\].say.text"),
        ("{steps: [{do: 'press', digits: '5x'}]}", r"steps\[0\].press.digits"),
        ("{steps: [{do: 'hangUp', withinMs: 0}]}", r"steps\[0\].hangUp.withinMs"),
        ("{steps: [{do: 'hangUp', why: 1}]}", r"steps\[0\].hangUp.why"),
    ],
)
def test_a_wrong_script_is_refused_with_the_path_of_what_is_wrong(
    text: str, complaint: str
) -> None:
    with pytest.raises(ConfigError, match=f"^caller: {complaint}"):
        parse_script(text, origin="caller")


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"missing\.json5: cannot be read"):
        load_script(tmp_path / "missing.json5")
    (tmp_path / "latin").write_bytes(b"\xff")
    with pytest.raises(ConfigError, match="UTF-8"):
        load_script(tmp_path / "latin")
    (tmp_path / "huge").write_bytes(b" " * (1024 * 1024 + 1))
    with pytest.raises(ConfigError, match="larger than"):
        load_script(tmp_path / "huge")


def test_the_built_in_caller_is_understood_by_the_built_in_receptionist() -> None:
    persona = builtin_persona()
    steps = demo_script().steps
    said = [step.text for step in steps if isinstance(step, Say | Interrupt)]
    assert len(said) >= 4
    answers = [next((rule for rule in persona.rules if rule.matches(text)), None) for text in said]
    assert None not in answers
    assert len({id(rule) for rule in answers}) == len(said)
    pressed = {step.digits for step in steps if isinstance(step, Press)}
    assert pressed <= {rule.digit for rule in persona.rules}
    assert any(isinstance(step, Interrupt) for step in steps)
    last = answers[-1]
    assert last is not None
    assert last.hang_up
    assert isinstance(steps[-1], AwaitHangUp)
