from __future__ import annotations

import pytest

from voicecall.diagnosis.check import Result, Status, fail, ok, skipped, warn

pytestmark = pytest.mark.unit


def test_a_result_is_told_with_what_mends_it() -> None:
    result = Result("dns", fail("there is no address", "add a record"), 12.6)
    assert result.to_json() == {
        "name": "dns",
        "status": "fail",
        "found": "there is no address",
        "remedy": "add a record",
        "tookMs": 13,
    }


def test_warnings_let_others_go_on_and_failures_do_not() -> None:
    findings = {ok("a"): True, warn("a", "b"): True, fail("a", "b"): False, skipped("a"): False}
    assert {each: Result("x", each).passed for each in findings} == findings
    assert Result("x", warn("a", "b")).status is Status.WARN
