"""A simulated phone that calls a media server as a carrier does.

It is an independent peer: it speaks the carrier's protocol with code of its own, so that it can
tell whether the server does. `Phone` talks and listens, `run_script` tells it what to do, `call_in`
lets it call, and the checks say how it went. Nothing leaves the machine unless the phone is given
another machine's URL.
"""

from voicecall.simulator.callee import Callee, Pickup
from voicecall.simulator.caller import call_in
from voicecall.simulator.engines import Engines, Heard, local_engines
from voicecall.simulator.flaws import AudioCheck, check_audio, find_clicks, find_gaps
from voicecall.simulator.phone import EchoPhone, Phone, Said
from voicecall.simulator.playout import MarkEcho, PlayoutBuffer, PlayoutStats, Stretch
from voicecall.simulator.recording import CallRecording, Side
from voicecall.simulator.script import Script, StepDone, demo_script, load_script, run_script
from voicecall.simulator.stream import Closing, PhoneStats, Violation
from voicecall.simulator.verify import TranscriptCheck, UtteranceCheck, check_transcript
from voicecall.simulator.wav import read_wav

__all__ = [
    "AudioCheck",
    "CallRecording",
    "Callee",
    "Closing",
    "EchoPhone",
    "Engines",
    "Heard",
    "MarkEcho",
    "Phone",
    "PhoneStats",
    "Pickup",
    "PlayoutBuffer",
    "PlayoutStats",
    "Said",
    "Script",
    "Side",
    "StepDone",
    "Stretch",
    "TranscriptCheck",
    "UtteranceCheck",
    "Violation",
    "call_in",
    "check_audio",
    "check_transcript",
    "demo_script",
    "find_clicks",
    "find_gaps",
    "load_script",
    "local_engines",
    "read_wav",
    "run_script",
]
