"""The report shows every result with its command and machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from benchmarks.load import compare, ladder
from benchmarks.load.report import number, page, shown, spread_text
from tests.benchmarks.points import document, point

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.unit


def test_shares_are_written_in_percent_and_missing_figures_as_a_dash() -> None:
    assert shown("onTime", 0.99951) == "99.951 %"
    assert shown("cpu", 0.123456) == "0.1235"
    assert (number(123456.7), number(None)) == ("123457", "-")


def test_a_spread_without_a_range_is_one_number() -> None:
    assert spread_text("cpu", {"median": 2.0, "least": 2.0, "most": 2.0}) == "2"
    assert spread_text("cpu", {"median": 2.0, "least": 1.0, "most": 3.0}) == "2 (1 … 3)"
    assert spread_text("cpu", None) == "-"


def test_a_run_is_told_with_its_arrivals_its_command_and_the_machine(tmp_path: Path) -> None:
    run = {**point(0.998), "arrivals": point(0.5)["regular"]}
    text = page({"a-run": document("point", run)}, tmp_path)
    assert "## A run" in text
    assert "| regular: on time | 99.800 % |" in text
    assert "| arrivals: on time | 50.000 % |" in text
    assert "python -m point" in text
    assert "Some CPU, 2 cores" in text


def test_a_ladder_is_told_with_a_picture_that_is_the_same_every_time(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    rungs = [ladder.Rung(10, 0.999, [point()]), ladder.Rung(20, 0.999, [point(0.5)])]
    documents = {"steps": document("ladder", ladder.result(rungs, 10, 0.999))}
    text = page(documents, tmp_path)
    assert "**10 streams** with at least 99.9 %" in text
    assert "limited by the server" in text
    assert "| 20 | 50.000 % |" in text
    first = (tmp_path / "steps.svg").read_bytes()
    assert first.lstrip().startswith(b"<?xml")
    page(documents, tmp_path)
    assert (tmp_path / "steps.svg").read_bytes() == first


def test_a_comparison_has_a_column_and_a_bar_for_each_server(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    servers = compare.result(
        {"ours": [point(cpu=0.2), point(cpu=0.4)], "peer": [point(cpu=0.6), point(cpu=0.8)]}
    )
    content = {"servers": servers}
    text = page({"duel": document("compare", content)}, tmp_path)
    assert "2 interleaved runs" in text
    assert "| streams | 10 | 10 |" in text
    assert "| figure | ours | peer |" in text
    assert "| CPU, cores | 0.3 (0.2 … 0.4) | 0.7 (0.6 … 0.8) |" in text
    assert b"peer" in (tmp_path / "duel.svg").read_bytes()


def test_each_machine_is_named_once(tmp_path: Path) -> None:
    text = page({"x": document("point", point()), "y": document("point", point())}, tmp_path)
    assert text.count("Some CPU") == 1


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no result of the load kit"):
        page({"x": {"kind": "poem", "machine": document("point", {})["machine"]}}, tmp_path)
