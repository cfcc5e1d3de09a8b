"""Every key is explained, and nothing else."""

from __future__ import annotations

import pytest

from voicecall.config import schema
from voicecall.config.guide import _GUIDE, description

pytestmark = pytest.mark.unit

SECTIONS = [
    each
    for each in vars(schema).values()
    if isinstance(each, type) and issubclass(each, schema.Section) and each is not schema.Section
]


def keys(section: type[schema.Section]) -> set[str]:
    return {field.alias or name for name, field in section.model_fields.items()}


@pytest.mark.parametrize("section", SECTIONS, ids=lambda section: section.__name__)
def test_every_key_is_explained_by_a_sentence(section: type[schema.Section]) -> None:
    told = {key: description(section, key) or "" for key in keys(section)}
    assert [key for key, text in told.items() if not text.endswith((".", "`."))] == []


def test_nothing_is_explained_that_is_not_there() -> None:
    by_name = {section.__name__: keys(section) for section in SECTIONS}
    for name, guide in _GUIDE.items():
        assert set(guide) <= by_name[name], name


def test_a_key_of_its_own_goes_before_an_inherited_one() -> None:
    assert description(schema.Twilio, "voice") == description(schema.Account, "voice")
    assert description(schema.Twilio, "authToken") is not None
    assert description(schema.Twilio, "nothing") is None
