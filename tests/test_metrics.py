"""Prometheus metrics."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest
from prometheus_client.parser import text_string_to_metric_families

from voicecall.call.record import CallState, Direction
from voicecall.metrics import FRAME_LATENESS, Distribution, Metrics, Reading

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

pytestmark = pytest.mark.unit


def scraped(metrics: Metrics) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Every sample by name and labels, as a Prometheus server would read it."""
    body, content_type = metrics.render()
    assert content_type.startswith("text/plain")
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(body.decode())
        for sample in family.samples
    }


def sample(metrics: Metrics, name: str, **labels: str) -> float | None:
    return scraped(metrics).get((name, frozenset(labels.items())))


def test_calls_are_counted_while_they_live_and_by_how_they_ended() -> None:
    metrics = Metrics()
    metrics.call_started(Direction.OUTBOUND)
    metrics.call_started(Direction.OUTBOUND)
    metrics.call_started(Direction.INBOUND)
    metrics.call_ended(Direction.OUTBOUND, CallState.NO_ANSWER)
    assert sample(metrics, "voicecall_calls_live", direction="outbound") == 1
    assert sample(metrics, "voicecall_calls_live", direction="inbound") == 1
    ended = sample(metrics, "voicecall_calls_total", direction="outbound", reason="no-answer")
    assert ended == 1


def test_refusals_and_webhooks_are_counted_by_what_became_of_them() -> None:
    metrics = Metrics()
    metrics.call_refused("capacity")
    metrics.webhook("twilio", "replayed")
    metrics.webhook("twilio", "replayed")
    assert sample(metrics, "voicecall_call_refusals_total", reason="capacity") == 1
    webhooks = sample(metrics, "voicecall_webhooks_total", carrier="twilio", result="replayed")
    assert webhooks == 2


@pytest.mark.parametrize(
    ("observe", "name"),
    [
        (Metrics.first_audio, "voicecall_time_to_first_audio_seconds"),
        (Metrics.cleared, "voicecall_detect_to_clear_seconds"),
        (Metrics.turn_answered, "voicecall_turn_latency_seconds"),
        (Metrics.stored, "voicecall_store_latency_seconds"),
    ],
)
def test_durations_are_given_in_milliseconds_and_shown_in_seconds(
    observe: Callable[[Metrics, float], None], name: str
) -> None:
    metrics = Metrics()
    observe(metrics, 250)
    observe(metrics, 750)
    assert sample(metrics, f"{name}_sum") == 1.0
    assert sample(metrics, f"{name}_count") == 2
    assert sample(metrics, f"{name}_bucket", le="0.3" if "store" not in name else "0.5") == 1
    assert sample(metrics, f"{name}_bucket", le="+Inf") == 2


def test_every_metric_bears_our_name() -> None:
    assert all(name.startswith("voicecall_") for name, _ in scraped(Metrics()))


def test_two_servers_in_one_process_share_nothing() -> None:
    one, other = Metrics(), Metrics()
    one.call_refused("capacity")
    assert sample(one, "voicecall_call_refusals_total", reason="capacity") == 1
    assert sample(other, "voicecall_call_refusals_total", reason="capacity") is None


def test_values_kept_elsewhere_are_read_at_every_scrape_and_only_then() -> None:
    metrics = Metrics()
    reads = 0

    def read() -> Iterable[Reading]:
        nonlocal reads
        reads += 1
        for leg, late in (("a", 1), ("b", 2)):
            yield Reading("frames_late", "Late frames.", "counter", late * reads, {"leg": leg})
        yield Reading("legs", "Legs.", "gauge", 7)

    metrics.add_collector(read)
    assert reads == 0
    first = scraped(metrics)
    assert first["voicecall_frames_late_total", frozenset({("leg", "a")})] == 1
    assert first["voicecall_frames_late_total", frozenset({("leg", "b")})] == 2
    assert first["voicecall_legs", frozenset()] == 7
    second = scraped(metrics)
    assert second["voicecall_frames_late_total", frozenset({("leg", "b")})] == 4
    assert reads == 2


def test_a_histogram_kept_elsewhere_is_shown_with_cumulative_buckets() -> None:
    metrics = Metrics()
    metrics.add_collector(
        lambda: [Distribution(FRAME_LATENESS, "Lateness.", (0.001, 0.02), (5, 3, 1), 0.25)]
    )
    name = "voicecall_frame_lateness_seconds"
    assert sample(metrics, f"{name}_bucket", le="0.001") == 5
    assert sample(metrics, f"{name}_bucket", le="0.02") == 8
    assert sample(metrics, f"{name}_bucket", le="+Inf") == 9
    assert sample(metrics, f"{name}_count") == 9
    assert sample(metrics, f"{name}_sum") == 0.25


def test_a_source_that_fails_is_logged_and_takes_nothing_else_away(
    caplog: pytest.LogCaptureFixture,
) -> None:
    metrics = Metrics()

    def fail() -> Iterable[Reading]:
        yield Reading("half", "Half.", "gauge", 1)
        raise RuntimeError("broken")

    metrics.add_collector(fail)
    metrics.add_collector(lambda: [Distribution("bad", "Bad.", (1.0,), (1,), 0.0)])
    metrics.add_collector(lambda: [Reading("good", "Good.", "gauge", 1)])
    metrics.call_refused("capacity")
    with caplog.at_level(logging.ERROR, logger="voicecall.metrics"):
        samples = scraped(metrics)
    assert samples["voicecall_good", frozenset()] == 1
    assert ("voicecall_half", frozenset()) not in samples
    assert samples["voicecall_call_refusals_total", frozenset({("reason", "capacity")})] == 1
    assert [record.message for record in caplog.records] == ["a metrics source failed"] * 2


def test_a_source_can_be_taken_away_again() -> None:
    metrics = Metrics()
    remove = metrics.add_collector(lambda: [Reading("legs", "Legs.", "gauge", 7)])
    remove()
    assert sample(metrics, "voicecall_legs") is None


def test_pauses_are_counted_by_where_they_were() -> None:
    metrics = Metrics()
    metrics.loop_blocked("media", 120)
    metrics.loop_blocked("tts", 2000)
    metrics.collected(2, 7)
    text = metrics.render()[0].decode()
    assert 'voicecall_loop_blocked_seconds_count{loop="media"} 1.0' in text
    assert 'voicecall_loop_blocked_seconds_bucket{le="0.1",loop="media"} 0.0' in text
    assert 'voicecall_loop_blocked_seconds_sum{loop="tts"} 2.0' in text
    assert 'voicecall_garbage_collection_seconds_bucket{generation="2",le="0.01"} 1.0' in text


def test_each_step_of_an_answer_is_measured_by_itself() -> None:
    metrics = Metrics()
    metrics.turn_steps({"finalMs": 500.0, "firstTokenMs": 200.0, "latencyMs": 710.0})
    metrics.turn_steps({"finalMs": 300.0, "firstAudioMs": 8.0, "firstFrameMs": 2.0})
    name = "voicecall_turn_step_seconds"
    assert sample(metrics, f"{name}_sum", step="final") == 0.8
    assert sample(metrics, f"{name}_count", step="final") == 2
    assert sample(metrics, f"{name}_count", step="first_token") == 1
    assert sample(metrics, f"{name}_bucket", step="first_audio", le="0.01") == 1
    assert sample(metrics, f"{name}_bucket", step="first_frame", le="0.005") == 1
    assert sample(metrics, f"{name}_count", step="latency") is None
