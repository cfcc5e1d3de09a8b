from __future__ import annotations

import base64
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from voicecall._codec import CallableOutlet, MediaStream, Pacer, WireFormat, Workspace
from voicecall.media.admission import Admission
from voicecall.media.measures import MediaMeasures
from voicecall.metrics import FRAME_LATENESS, INBOUND_LATENCY, Distribution, Metrics, Reading

if TYPE_CHECKING:
    from collections.abc import Iterable

    from voicecall.metrics import Sample

pytestmark = pytest.mark.unit

MS = 1_000_000
FRAME = base64.b64encode(bytes(range(160))).decode()


class Plane:
    """What is measured, with two streams that may come and go."""

    def __init__(self) -> None:
        self.workspace = Workspace()
        self.admission = Admission(10, 5, 2)
        self.refusals: Counter[str] = Counter()
        self.measures = MediaMeasures(self.workspace, self.admission, self.refusals)

    def stream(self) -> MediaStream:
        stream = MediaStream(self.workspace, self, 60)
        stream.connect(CallableOutlet(lambda _: None))
        stream.begin("ulaw", WireFormat(b"[", b"]", b"(", b")", b"x"), Pacer(8000, 0xFF, 20, 40, 1))
        stream.listen(lambda _: None)
        return stream

    def totals(self, streams: Iterable[MediaStream]) -> dict[str, float]:
        samples = self.measures.readings(streams)
        return {each.name: each.value for each in samples if isinstance(each, Reading)}


def receive(stream: MediaStream, *sequence_numbers: int) -> None:
    for number in sequence_numbers:
        stream.receive(
            f'{{"event":"media","sequenceNumber":"{number}","media":{{"track":"inbound",'
            f'"chunk":"{number}","timestamp":"{number * 20}","payload":"{FRAME}"}},'
            f'"streamSid":"MZ1"}}'.encode(),
            number * 20 * MS,
        )


def distributions(samples: Iterable[Sample]) -> dict[str, Distribution]:
    return {each.name: each for each in samples if isinstance(each, Distribution)}


def test_open_streams_are_added_up() -> None:
    plane = Plane()
    first, second = plane.stream(), plane.stream()
    receive(first, 1, 2, 3)
    receive(second, 1, 1, 3, 2)
    totals = plane.totals([first, second])
    assert totals["stream_messages"] == 7
    assert totals["stream_in_octets"] == 6 * 160
    assert totals["stream_duplicate_frames"] == 1
    assert totals["stream_reordered_frames"] == 1
    assert totals["stream_faults"] == 0


def test_streams_that_are_gone_stay_counted_once() -> None:
    plane = Plane()
    first, second = plane.stream(), plane.stream()
    receive(first, 1, 2, 3)
    receive(second, 1)
    plane.measures.retire(first)
    assert plane.totals([second])["stream_in_octets"] == 4 * 160
    plane.measures.retire(second)
    assert plane.totals([])["stream_in_octets"] == 4 * 160


def test_unusable_messages_are_counted() -> None:
    plane = Plane()
    stream = plane.stream()
    stream.receive(b"not JSON", 0)
    assert plane.totals([stream])["stream_faults"] == 1


def test_sockets_and_refusals_are_shown_as_they_stand() -> None:
    plane = Plane()
    assert plane.admission.enter()
    assert plane.admission.enter()
    assert plane.admission.enter_pending("127.0.0.1")
    plane.refusals.update(token=2, max_connections=1)
    samples = list(plane.measures.readings([]))
    totals = {each.name: each.value for each in samples if isinstance(each, Reading)}
    assert (totals["stream_sockets"], totals["stream_sockets_pending"]) == (2, 1)
    refusals = {
        each.labels["reason"]: each.value
        for each in samples
        if isinstance(each, Reading) and each.name == "stream_refusals"
    }
    assert refusals == {"token": 2, "max_connections": 1}


def test_complaints_of_carriers_are_counted() -> None:
    plane = Plane()
    assert plane.totals([])["stream_complaints"] == 0
    plane.measures.count_complaint()
    plane.measures.count_complaint()
    assert plane.totals([])["stream_complaints"] == 2


def test_how_long_frames_waited_is_a_distribution() -> None:
    plane = Plane()
    stream = plane.stream()
    receive(stream, 1, 2, 3)
    held = distributions(plane.measures.readings([stream]))[INBOUND_LATENCY]
    assert sum(held.counts) == 3
    assert len(held.counts) == len(held.upper_bounds_s) + 1


def test_how_late_frames_left_is_a_distribution() -> None:
    plane = Plane()
    stream = plane.stream()
    stream.write(b"\x55" * 800, 0)
    for tick in range(1, 6):
        stream.pump(tick * 20 * MS)
    late = distributions(plane.measures.readings([stream]))[FRAME_LATENESS]
    assert sum(late.counts) > 0


def test_everything_can_be_scraped() -> None:
    plane = Plane()
    stream = plane.stream()
    receive(stream, 1)
    metrics = Metrics()
    metrics.add_collector(lambda: plane.measures.readings([stream]))
    text = metrics.render()[0].decode().splitlines()
    assert "voicecall_stream_messages_total 1.0" in text
    assert "voicecall_stream_in_octets_total 160.0" in text
    assert "voicecall_stream_sockets 0.0" in text
