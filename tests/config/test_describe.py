"""A configuration as rows."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.config.test_schema import DEFAULTS
from voicecall.config.describe import Row, describe
from voicecall.config.load import LoadedConfig
from voicecall.config.schema import Config

pytestmark = pytest.mark.unit


def loaded(config: Config) -> LoadedConfig:
    return LoadedConfig(
        config=config,
        path=None,
        state_directory=Path("/state"),
        warnings=(),
        ignored=(),
        origins={"serve.port": "file", "openai.apiKey": "environment"},
    )


def test_there_is_one_row_for_every_key_in_the_order_of_the_schema() -> None:
    rows = describe(loaded(Config()))
    assert {row.path: row.value for row in rows} == DEFAULTS
    assert [row.path for row in rows][:3] == ["enabled", "provider", "fromNumber"]


def test_rows_say_where_values_come_from_also_inherited_ones() -> None:
    rows = {row.path: row for row in describe(loaded(Config.model_validate({})))}
    assert rows["serve.port"] == Row("serve.port", 3334, "file")
    assert rows["openai.apiKey"].origin == "environment"
    assert rows["stt.openai.apiKey"].origin == "environment"
    assert rows["serve.bind"].origin == "default"


def test_secrets_that_are_set_are_masked_and_the_others_are_null() -> None:
    config = Config.model_validate({"openai": {"apiKey": "hush-hush"}})
    rows = {row.path: row.value for row in describe(loaded(config))}
    assert rows["openai.apiKey"] == "***"
    assert rows["tts.openai.apiKey"] == "***"
    assert rows["deepgram.apiKey"] is None


@pytest.mark.parametrize(
    ("store", "shown"),
    [
        ("/var/lib/calls.db", "/var/lib/calls.db"),
        ("redis://127.0.0.1:6379/0", "redis://127.0.0.1:6379/0"),
        ("rediss://user:hush@host:6379/0", "rediss://***@host:6379/0"),
        ("redis://:hu@sh@host/0?password=hush", "redis://***@host/0?***"),
    ],
)
def test_the_store_is_shown_without_what_may_be_a_password(store: str, shown: str) -> None:
    config = Config.model_validate({"store": store})
    assert {row.path: row.value for row in describe(loaded(config))}["store"] == shown


def test_every_value_is_json() -> None:
    config = Config.model_validate(
        {
            "numbers": {"+15550001234": {"inboundGreeting": "Hi", "tts": {"provider": "openai"}}},
            "webhookSecurity": {"trustedProxyIPs": ["10.0.0.0/8"]},
            "serve": {"tls": {"cert": "/c", "key": "/k"}},
        }
    )
    rows = {row.path: row.value for row in describe(loaded(config))}
    json.dumps(rows)
    assert rows["webhookSecurity.trustedProxyIPs"] == ["10.0.0.0/8"]
    assert rows["serve.tls.cert"] == "/c"
    assert rows["numbers.+15550001234.inboundGreeting"] == "Hi"
    assert rows["numbers.+15550001234.tts.provider"] == "openai"
