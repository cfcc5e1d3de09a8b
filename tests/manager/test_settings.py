from __future__ import annotations

import pytest

from voicecall.manager.settings import CallSettings

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("stale_after_ms", "spares"), [(0, False), (299_999, True), (300_000, True), (300_001, False)]
)
def test_a_reaper_not_slower_than_the_limit_spares_answered_calls(
    stale_after_ms: int, *, spares: bool
) -> None:
    settings = CallSettings(stale_after_ms=stale_after_ms, max_duration_ms=300_000)
    assert settings.reaper_spares_answered is spares
