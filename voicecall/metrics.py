"""Prometheus metrics, all named `voicecall_*`, in a registry of their own.

Event loops call the typed methods at the rate of calls and turns. What happens for every frame is
counted where it happens and only read when somebody scrapes: see `Metrics.add_collector`.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from itertools import accumulate
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

logger = logging.getLogger("voicecall.metrics")

FRAME_LATENESS: Final = "frame_lateness_seconds"
INBOUND_LATENCY: Final = "inbound_latency_seconds"

_TURN_BUCKETS_S: Final = (0.1, 0.2, 0.3, 0.5, 0.7, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0)
_AUDIO_BUCKETS_S: Final = (0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0, 1.5, 2.0, 3.0, 5.0)
_STEP_BUCKETS_S: Final = (
    0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0,
)  # fmt: skip
# As a turn's timing names them, and as the label does.
_STEPS: Final = {
    "finalMs": "final",
    "firstTokenMs": "first_token",
    "firstAudioMs": "first_audio",
    "firstFrameMs": "first_frame",
}
_CLEAR_BUCKETS_S: Final = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0)
_PAUSE_BUCKETS_S: Final = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
_STORE_BUCKETS_S: Final = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1.0)


@dataclass(frozen=True, slots=True)
class Reading:
    """One value of a counter or gauge that is kept elsewhere.

    Attributes:
        name: without the `voicecall_` in front; a counter's also without `_total`.
        help: what it counts.
        kind: `counter` only grows.
        value: now.
        labels: by name; readings of one name have the same label names.
    """

    name: str
    help: str
    kind: Literal["counter", "gauge"]
    value: float
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Distribution:
    """A histogram that is kept elsewhere, for example `FRAME_LATENESS` by the media plane.

    Attributes:
        name: without the `voicecall_` in front.
        help: what is measured.
        upper_bounds_s: of the buckets, ascending, in seconds; the last, unbounded one is implied.
        counts: observations in each bucket alone, one more than there are bounds.
        sum_s: all observations together, in seconds.
    """

    name: str
    help: str
    upper_bounds_s: Sequence[float]
    counts: Sequence[int]
    sum_s: float


Sample: TypeAlias = Reading | Distribution


class Metrics:
    """Everything the server counts and measures. Every update is atomic, from any thread."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._calls_live = self._gauge("calls_live", "Calls that have not ended.", "direction")
        self._calls = self._counter("calls", "Calls that have ended.", "direction", "reason")
        self._refusals = self._counter("call_refusals", "Calls not taken on.", "reason")
        self._webhooks = self._counter(
            "webhooks", "Webhook requests by what became of them.", "carrier", "result"
        )
        self._first_audio = self._histogram(
            "time_to_first_audio_seconds",
            "From the decision to speak to the first frame sent.",
            _AUDIO_BUCKETS_S,
        )
        self._detect_to_clear = self._histogram(
            "detect_to_clear_seconds",
            "From noticing that the caller interrupts to the clear message sent.",
            _CLEAR_BUCKETS_S,
        )
        self._turn_latency = self._histogram(
            "turn_latency_seconds",
            "From the end of the caller's speech to the first frame of the answer.",
            _TURN_BUCKETS_S,
        )
        self._turn_steps = self._histogram(
            "turn_step_seconds",
            "The steps of answering the caller, each from the one before: the final transcript "
            "(from the end of speech), the reply's first token, its first audio, the first frame.",
            _STEP_BUCKETS_S,
            "step",
        )
        self._store_latency = self._histogram(
            "store_latency_seconds", "Storing one change of a call.", _STORE_BUCKETS_S
        )

        self._loop_blocked = self._histogram(
            "loop_blocked_seconds",
            "Times in which an event loop did nothing for more than 50 ms.",
            _PAUSE_BUCKETS_S,
            "loop",
        )
        self._collections = self._histogram(
            "garbage_collection_seconds",
            "Full garbage collections, and others of more than 10 ms.",
            _PAUSE_BUCKETS_S,
            "generation",
        )

    def call_started(self, direction: str) -> None:
        """A call was placed (`outbound`) or taken on (`inbound`)."""
        self._calls_live.labels(direction).inc()

    def call_ended(self, direction: str, reason: str) -> None:
        """A call that `call_started` counted is over; `reason` is its terminal state."""
        self._calls_live.labels(direction).dec()
        self._calls.labels(direction, reason).inc()

    def call_refused(self, reason: str) -> None:
        """A call was not taken on: `capacity`, `policy`, `draining`, `carrier` and the like."""
        self._refusals.labels(reason).inc()

    def webhook(self, carrier: str, result: str) -> None:
        """A webhook request was answered: `applied`, `replayed`, `unsigned`, `malformed`, ..."""
        self._webhooks.labels(carrier, result).inc()

    def first_audio(self, elapsed_ms: float) -> None:
        """The first frame of something to say was sent."""
        self._first_audio.observe(elapsed_ms / 1000)

    def cleared(self, elapsed_ms: float) -> None:
        """The caller interrupted, and playing was stopped."""
        self._detect_to_clear.observe(elapsed_ms / 1000)

    def turn_answered(self, elapsed_ms: float) -> None:
        """The caller's words got an answer."""
        self._turn_latency.observe(elapsed_ms / 1000)

    def turn_steps(self, timing_ms: Mapping[str, float]) -> None:
        """The caller's words got an answer, which took so long; see `TurnTiming.to_json`."""
        for name, step in _STEPS.items():
            if name in timing_ms:
                self._turn_steps.labels(step).observe(timing_ms[name] / 1000)

    def stored(self, elapsed_ms: float) -> None:
        """A change was stored."""
        self._store_latency.observe(elapsed_ms / 1000)

    def loop_blocked(self, loop: str, elapsed_ms: float) -> None:
        """An event loop was blocked: `media` is the one that sends audio."""
        self._loop_blocked.labels(loop).observe(elapsed_ms / 1000)

    def collected(self, generation: int, elapsed_ms: float) -> None:
        """A garbage collection worth counting: 2 is a full one."""
        self._collections.labels(str(generation)).observe(elapsed_ms / 1000)

    def add_collector(self, read: Callable[[], Iterable[Sample]]) -> Callable[[], None]:
        """Have `read` called at every scrape for values kept elsewhere.

        A `read` that fails is logged and left out of that scrape.

        Returns:
            A function that undoes this.
        """
        collector = _Reader(read)
        self._registry.register(collector)
        return lambda: self._registry.unregister(collector)

    def render(self) -> tuple[bytes, str]:
        """All metrics in Prometheus' text format, and its content type."""
        return generate_latest(self._registry), CONTENT_TYPE_LATEST

    def _counter(self, name: str, help_text: str, *labels: str) -> Counter:
        return Counter(name, help_text, labels, namespace="voicecall", registry=self._registry)

    def _gauge(self, name: str, help_text: str, *labels: str) -> Gauge:
        return Gauge(name, help_text, labels, namespace="voicecall", registry=self._registry)

    def _histogram(
        self, name: str, help_text: str, buckets_s: Sequence[float], *labels: str
    ) -> Histogram:
        return Histogram(
            name,
            help_text,
            labels,
            namespace="voicecall",
            registry=self._registry,
            buckets=buckets_s,
        )


class _Reader(Collector):
    """Turns samples kept elsewhere into Prometheus' families."""

    def __init__(self, read: Callable[[], Iterable[Sample]]) -> None:
        self._read = read

    def describe(self) -> list[Metric]:
        """Nothing, so that registering does not read; names are not checked for clashes."""
        return []

    def collect(self) -> Iterator[Metric]:
        """The samples of one scrape, those of one name in one family."""
        try:
            families = self._families()
        except Exception:
            # A request boundary: one broken source must not take the others' numbers away.
            logger.exception("a metrics source failed")
            return
        yield from families

    def _families(self) -> list[Metric]:
        families: dict[str, Metric] = {}
        for sample in self._read():
            if isinstance(sample, Distribution):
                families[sample.name] = _histogram_of(sample)
                continue
            family = families.setdefault(sample.name, _family_of(sample))
            suffix = "_total" if sample.kind == "counter" else ""
            family.add_sample(f"{family.name}{suffix}", dict(sample.labels), sample.value)
        return list(families.values())


def _family_of(reading: Reading) -> Metric:
    family = CounterMetricFamily if reading.kind == "counter" else GaugeMetricFamily
    return family(f"voicecall_{reading.name}", reading.help, labels=tuple(reading.labels))


def _histogram_of(distribution: Distribution) -> Metric:
    bounds = [*map(floatToGoString, distribution.upper_bounds_s), "+Inf"]
    buckets = list(zip(bounds, accumulate(distribution.counts), strict=True))
    return HistogramMetricFamily(
        f"voicecall_{distribution.name}",
        distribution.help,
        buckets=buckets,
        sum_value=distribution.sum_s,
    )
