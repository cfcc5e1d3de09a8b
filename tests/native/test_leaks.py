"""What of LeakSanitizer's report is about the compiled core."""

from __future__ import annotations

import pytest

from tests.native.leaks import leaks_in

pytestmark = pytest.mark.native

REPORT = """
=================================================================
==1==ERROR: LeakSanitizer: detected memory leaks

Direct leak of 5375 byte(s) in 50 object(s) allocated from:
    #0 0x1 in __interceptor_malloc asan_malloc_linux.cpp:69
    #1 0x2 in PyBytes_FromStringAndSize Objects/bytesobject.c:136
    #2 0x3 in __pyx_pf_9voicecall_6_codec_ulaw_encode voicecall/_codec.c:8174

Direct leak of 64 byte(s) in 1 object(s) allocated from:
    #0 0x1 in __interceptor_malloc asan_malloc_linux.cpp:69
    #1 0x2 in somebody_else elsewhere.c:1

SUMMARY: AddressSanitizer: 5439 byte(s) leaked in 51 allocation(s).
"""


def test_only_leaks_of_the_compiled_core_count() -> None:
    (leak,) = leaks_in(REPORT)
    assert leak.startswith("Direct leak of 5375 byte(s)")


def test_an_empty_report_has_no_leaks() -> None:
    assert leaks_in("") == []
