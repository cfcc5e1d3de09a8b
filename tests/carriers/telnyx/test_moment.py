from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voicecall.carriers.telnyx.moment import milliseconds
from voicecall.errors import CodecError

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    "written",
    [
        "2026-01-01T00:00:00.250000Z",
        "2026-01-01T00:00:00.250Z",
        "2026-01-01T01:00:00.250+01:00",
        "2026-01-01T00:00:00.250",
    ],
)
def test_a_time_is_read_in_every_form_telnyx_writes_it_in(written: str) -> None:
    assert milliseconds(written, "occurred_at") == 1_767_225_600_250


@pytest.mark.parametrize("written", [None, 5, "", "soon", "9999-12-31T23:59:59+9", [], True])
def test_what_is_no_time_is_named(written: object) -> None:
    with pytest.raises(CodecError, match="occurred_at"):
        milliseconds(written, "occurred_at")


@given(st.text())
def test_nothing_but_a_codec_error_comes_of_text(written: str) -> None:
    with contextlib.suppress(CodecError):
        assert isinstance(milliseconds(written, "occurred_at"), int)
