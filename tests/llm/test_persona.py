from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from voicecall.errors import ConfigError
from voicecall.llm.persona import (
    MAX_PERSONA_OCTETS,
    Rule,
    builtin_persona,
    load_persona,
    parse_persona,
)

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.unit


def problems(text: str) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        parse_persona(text, origin="p.json5")
    return caught.value.problems


def test_a_persona_file_is_read(tmp_path: Path) -> None:
    file = tmp_path / "persona.json5"
    file.write_text("{greeting: 'Hi', rules: [{match: 'open', reply: 'At eight.'}]} // comment")
    persona = load_persona(file)
    assert persona.greeting == "Hi"
    assert persona.rules == (Rule(match=("open",), reply=("At eight.",)),)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.json5: cannot be read: No such file"):
        load_persona(tmp_path / "none.json5")


def test_a_file_that_is_not_text_is_named(tmp_path: Path) -> None:
    file = tmp_path / "p.json5"
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match=r"p\.json5: is not UTF-8"):
        load_persona(file)


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    file = tmp_path / "p.json5"
    file.write_bytes(b" " * (MAX_PERSONA_OCTETS + 1))
    with pytest.raises(ConfigError, match="larger than"):
        load_persona(file)


def test_broken_json5_is_one_problem() -> None:
    (problem,) = problems("{greeting: ")
    assert problem.startswith("p.json5: not JSON5: ")


def test_every_wrong_key_is_named_with_its_path() -> None:
    found = problems("{greetin: 'Hi', rules: [{match: 'a', reply: 'b', hangup: true}]}")
    assert sorted(problem.split(": ")[1] for problem in found) == [
        "greetin",
        "greeting",
        "rules[0].hangup",
    ]


@pytest.mark.parametrize(
    ("rule", "problem"),
    [
        ("{reply: 'x'}", "needs match or digit"),
        ("{match: 'x'}", "needs reply or hangUp"),
        ("{match: '...', reply: 'x'}", "holds no word"),
        ("{match: '/(/', reply: 'x'}", "not a regular expression"),
        ("{digit: 'x', reply: 'x'}", "should match pattern"),
    ],
)
def test_a_rule_that_cannot_work_is_refused(rule: str, problem: str) -> None:
    (found,) = problems(f"{{greeting: 'Hi', rules: [{rule}]}}")
    assert found.startswith("p.json5: rules[0]")
    assert problem in found


def test_a_file_that_is_no_object_is_one_problem() -> None:
    assert problems("[]")[0].startswith("p.json5: the whole file: ")


@pytest.mark.parametrize(
    ("phrase", "text", "matches"),
    [
        ("opening hours", "What are your hours of opening?", True),
        ("opening hours", "What are your hours?", False),
        ("open", "I opened it", False),
        ("Bye", "OK, bye!", True),
        ("don't know", "I don\u2019t know", True),
        ("/^yes/", "Yes, please", True),
        ("/^yes/", "Oh yes", False),
    ],
)
def test_a_phrase_matches_whole_words_in_any_order(phrase: str, text: str, matches: bool) -> None:
    assert Rule(match=(phrase,), reply=("x",)).matches(text) is matches


def test_the_builtin_persona_has_an_answer_long_enough_to_be_interrupted() -> None:
    longest = max(len(reply.split()) for rule in builtin_persona().rules for reply in rule.reply)
    words_a_second = 4
    assert longest / words_a_second >= 8
