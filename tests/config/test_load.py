"""Loading from file and environment."""

from __future__ import annotations

import json
import tempfile
import traceback
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from tests.config.test_schema import DEFAULTS
from voicecall.config.describe import describe
from voicecall.config.load import LoadedConfig, load
from voicecall.config.schema import Config
from voicecall.errors import ConfigError

pytestmark = pytest.mark.unit

# The sample of the original's documentation.
ORIGINAL_SAMPLE = """{
  provider: "twilio", // or "telnyx" | "plivo" | "mock"
  fromNumber: "+15550001234",
  toNumber: "+15550005678",
  twilio: { accountSid: "ACxxxxxxxx", authToken: "your_token" },
  telnyx: { apiKey: "KEYxxxx", connectionId: "CONNxxxx", publicKey: "..." },
  plivo: { authId: "MAxxxxxxxxxxxxxxxxxxxx", authToken: "your_token" },
  serve: { port: 3334, path: "/voice/webhook" },
  outbound: { defaultMode: "notify" },
  streaming: {
    enabled: true,
    streamPath: "/voice/stream",
    preStartTimeoutMs: 5000,
    maxPendingConnections: 32,
    maxPendingConnectionsPerIp: 4,
    maxConnections: 128,
  },
}"""


HOST_FILE = "{plugins: {entries: {'voice-call': {enabled: true, config: SAMPLE}}}}"


class Loading:
    """Loads text as a file of its own directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.file = directory / "configuration" / "voicecall.json5"
        self.file.parent.mkdir()

    def __call__(self, text: str | None = None, **environ: str) -> LoadedConfig:
        if text is not None:
            self.file.write_text(text)
        return load(
            self.file if text is not None else None,
            environ=environ,
            cwd=self.directory,
            home=self.directory / "home",
        )

    def problems(self, text: str, **environ: str) -> tuple[str, ...]:
        with pytest.raises(ConfigError) as refusal:
            self(text, **environ)
        return refusal.value.problems


@pytest.fixture
def loading(tmp_path: Path) -> Loading:
    return Loading(tmp_path)


def test_without_a_file_everything_has_its_default(loading: Loading) -> None:
    loaded = loading()
    assert loaded.path is None
    assert loaded.config.provider == "mock"
    assert not loaded.warnings
    assert not loaded.ignored
    assert not loaded.origins


def test_state_and_store_have_a_place_by_default(loading: Loading) -> None:
    loaded = loading()
    state = loading.directory / "home" / ".local" / "state" / "voicecall"
    assert loaded.state_directory == state
    assert loaded.config.store == str(state / "calls.sqlite3")
    assert not state.exists()


def test_the_originals_sample_loads_as_it_is_and_inside_the_hosts_file(loading: Loading) -> None:
    for text in (
        ORIGINAL_SAMPLE,
        HOST_FILE.replace("SAMPLE", ORIGINAL_SAMPLE),
    ):
        loaded = loading(text)
        config = loaded.config
        assert config.provider == "twilio"
        assert config.twilio.auth_token == SecretStr("your_token")
        assert config.streaming.enabled
        assert config.streaming.max_pending_connections_per_ip == 4
        assert not loaded.ignored


def test_a_hosts_file_gives_its_tts_and_its_own_keys_are_listed(loading: Loading) -> None:
    loaded = loading(
        """{
          agents: { secret: "${NOT_OURS}" },
          messages: { tts: {
            auto: "always", mode: "final", edge: { enabled: true }, prefsPath: "${NOT_OURS}",
            provider: "elevenlabs", elevenlabs: { apiKey: "key-of-elevenlabs", voiceId: "v1" },
          } },
          plugins: { entries: { "voice-call": { config: {
            agentId: "main", provider: "mock",
            tts: { elevenlabs: { modelId: "m1" }, __proto__: { provider: "x" } },
            streaming: { sttModel: "whisper", vadThreshold: 0.7 },
          } } } },
        }"""
    )
    tts = loaded.config.tts
    assert tts.provider == "elevenlabs"
    assert (tts.elevenlabs.voice_id, tts.elevenlabs.model_id) == ("v1", "m1")
    assert tts.elevenlabs.api_key == SecretStr("key-of-elevenlabs")
    assert loaded.config.stt.openai.model == "whisper"
    assert loaded.config.stt.vad_threshold == 0.7
    assert set(loaded.ignored) == {"agentId", "tts.auto", "tts.mode", "tts.edge", "tts.prefsPath"}


def test_host_keys_are_unknown_in_a_file_of_our_own(loading: Loading) -> None:
    problems = loading.problems("{agentId: 'main', tts: {auto: 'always'}}")
    assert [problem.partition(":")[0] for problem in problems] == ["agentId", "tts.auto"]


def test_edge_is_ignored_with_a_warning_in_any_file(loading: Loading) -> None:
    loaded = loading("{tts: {provider: 'edge', edge: {voice: 'x'}}}")
    assert loaded.config.tts.provider == "local"
    assert loaded.ignored == ("tts.edge",)
    assert any(warning.startswith("tts.edge: ") for warning in loaded.warnings)
    assert any(warning.startswith("tts.provider: ") for warning in loaded.warnings)


def test_the_log_provider_and_twilios_from_are_read_with_warnings(loading: Loading) -> None:
    loaded = loading("{provider: 'log', twilio: {from: '+15550001234'}}")
    assert loaded.config.provider == "mock"
    assert loaded.config.from_number == "+15550001234"
    assert len(loaded.warnings) == 2


def test_each_value_is_traced_to_file_environment_or_default(loading: Loading) -> None:
    loaded = loading("{serve: {port: 1}, rpc: {token: '${TOKEN}'}}", TOKEN="t", OPENAI_API_KEY="k")
    origins = {row.path: row.origin for row in describe(loaded)}
    assert origins["serve.port"] == "file"
    assert origins["rpc.token"] == "file"
    assert origins["openai.apiKey"] == "environment"
    assert origins["tts.openai.apiKey"] == "environment"
    assert origins["serve.path"] == "default"
    assert origins["store"] == "default"


def test_all_problems_are_reported_at_once(loading: Loading) -> None:
    problems = loading.problems(
        """{
          provider: "twilio", publicUrl: "https://${HOST}/", allowFrom: ["${CALLER}", "5"],
          streaming: { maxConnectoins: 5, maxConnections: 0 },
          mock: { persona: "absent.json5" },
        }"""
    )
    persona = loading.file.parent / "absent.json5"
    assert sorted(problems) == sorted(
        [
            "publicUrl: the environment variable HOST is not set",
            "allowFrom.0: the environment variable CALLER is not set",
            "allowFrom.1: must be an E.164 number such as +15550001234",
            "streaming.maxConnectoins: unknown key; did you mean streaming.maxConnections?",
            "streaming.maxConnections: must be greater than or equal to 1",
            f"mock.persona: there is no file {persona}",
            'twilio.accountSid: is required for provider "twilio";'
            " set it in the file or in TWILIO_ACCOUNT_SID",
            'twilio.authToken: is required for provider "twilio";'
            " set it in the file or in TWILIO_AUTH_TOKEN",
            'fromNumber: is required for provider "twilio";'
            " set it in the file or in TWILIO_FROM_NUMBER",
        ]
    )


def test_the_environment_alone_can_complete_a_carrier(loading: Loading) -> None:
    config = loading(
        "{provider: 'twilio'}",
        TWILIO_ACCOUNT_SID="AC1",
        TWILIO_AUTH_TOKEN="t",
        TWILIO_FROM_NUMBER="+15550001234",
    ).config
    assert (config.twilio.account_sid, config.from_number) == ("AC1", "+15550001234")


def test_a_bad_value_is_traced_to_its_variable_or_old_name(loading: Loading) -> None:
    assert loading.problems("{}", OPENAI_BASE_URL="nonsense") == (
        "openai.baseUrl (from OPENAI_BASE_URL): must be an http:// or https:// URL",
    )
    assert loading.problems("{streaming: {vadThreshold: 2}}") == (
        "stt.vadThreshold (from streaming.vadThreshold): must be less than 1",
    )


def test_named_files_are_relative_to_the_file_that_names_them(loading: Loading) -> None:
    beside = loading.file.parent
    for name in ("cert.pem", "key.pem", "persona.json5"):
        (beside / name).write_text("")
    config = loading(
        """{
          serve: { tls: { cert: "cert.pem", key: "./key.pem" } },
          mock: { persona: "persona.json5" }, store: "~/calls.db",
          responseModel: "scripted/bot.json5",
          numbers: { "+15550001234": { responseModel: "scripted//etc/bot.json5" } },
        }"""
    ).config
    assert config.serve.tls is not None
    assert config.serve.tls.cert == beside / "cert.pem"
    assert config.serve.tls.key == beside / "key.pem"
    assert config.mock.persona == beside / "persona.json5"
    assert config.store == str(loading.directory / "home" / "calls.db")
    assert config.response_model == f"scripted/{beside / 'bot.json5'}"
    assert config.numbers["+15550001234"].response_model == "scripted//etc/bot.json5"


@pytest.mark.parametrize("name", ["x" * 5000, "a\\u0000b", "."])
def test_a_file_name_that_no_file_can_have_is_a_problem_like_any_other(
    loading: Loading, name: str
) -> None:
    (problem,) = loading.problems(f'{{mock: {{persona: "{name}"}}}}')
    assert problem.startswith("mock.persona: there is no file ")


@pytest.mark.parametrize(
    ("text", "warned"),
    [
        ("{skipSignatureVerification: true}", "skipSignatureVerification: "),
        ("{staleCallReaperSeconds: 300}", "staleCallReaperSeconds: "),
        (
            "{tunnel: {provider: 'ngrok', allowNgrokFreeTierLoopbackBypass: true}}",
            "tunnel.allowNgrokFreeTierLoopbackBypass: ",
        ),
        ("{stt: {provider: 'deepgram'}}", "stt.deepgram.apiKey: "),
        ("{responseModel: 'a/b', tools: {timeoutMs: 30000}}", "tools.timeoutMs: "),
        ("{responseModel: 'a/b', responseTimeoutMs: 9000}", "tools.timeoutMs: "),
        (
            "{responseModel: 'a/b', numbers: {'+15550001234': {responseTimeoutMs: 9000}}}",
            "numbers.+15550001234.tools.timeoutMs: ",
        ),
    ],
)
def test_what_is_seldom_meant_is_warned_of(loading: Loading, text: str, warned: str) -> None:
    (warning,) = loading(text).warnings
    assert warning.startswith(warned)


@pytest.mark.parametrize(
    "text",
    [
        "{staleCallReaperSeconds: 360, tunnel: {provider: 'ngrok'}}",
        "{responseModel: 'a/b', tools: {timeoutMs: 29999}}",
        "{responseModel: 'scripted/builtin', responseTimeoutMs: 9000}",
        "{responseModel: 'a/b', responseTimeoutMs: 9000, realtime: {enabled: true}}",
    ],
)
def test_usual_settings_give_no_warning(loading: Loading, text: str) -> None:
    assert loading(text).warnings == ()


def test_an_idle_timeout_that_is_too_short_is_refused_with_its_bounds(loading: Loading) -> None:
    (problem,) = loading.problems("{realtime: {idleTimeoutMs: 2000}}")
    assert problem == "realtime.idleTimeoutMs: must be 0 for never, or at least 5000"


@pytest.mark.parametrize("broken", ["3", "'x'", "[1]", "true", "null", "{a: 1}"])
@pytest.mark.parametrize(
    "key", ["provider", "twilio", "streaming", "stt", "tts", "numbers", "allowFrom", "store"]
)
def test_nothing_in_a_file_makes_loading_fail_otherwise(
    loading: Loading, key: str, broken: str
) -> None:
    problems: tuple[str, ...] = ()
    try:
        loading(f"{{{key}: {broken}}}")
    except ConfigError as error:
        problems = error.problems
    assert all(problem.startswith(key) for problem in problems)


_words = st.sampled_from(
    [*{key for path in DEFAULTS for key in path.split(".")}, "+15550001234", "edge", "log", "from"]
)
_values = st.none() | st.booleans() | st.floats() | st.text(max_size=5) | _words
_trees = st.recursive(
    _values,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(_words, inner, max_size=5),
    max_leaves=20,
)


@given(st.dictionaries(_words, _trees, max_size=8))
@settings(max_examples=60, deadline=None)
def test_whatever_a_file_holds_the_outcome_is_a_configuration_or_named_problems(
    content: dict[str, Any],
) -> None:
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / "voicecall.json5"
        file.write_text(json.dumps(content))
        try:
            outcome: object = load(None, environ={}, cwd=file.parent, home=file.parent).config
        except ConfigError as error:
            outcome = error.problems
    assert isinstance(outcome, Config) or outcome


SECRETS: dict[str, Any] = {
    "twilio": {"authToken": "hush-twilio"},
    "telnyx": {"apiKey": "hush-telnyx"},
    "plivo": {"authToken": "hush-plivo"},
    "tunnel": {"ngrokAuthToken": "hush-ngrok"},
    "stt": {"openai": {"apiKey": "hush-stt-o"}, "deepgram": {"apiKey": "hush-stt-d"}},
    "tts": {"openai": {"apiKey": "hush-tts-o"}, "elevenlabs": {"apiKey": "hush-tts-e"}},
    "openai": {"apiKey": "hush-openai"},
    "elevenlabs": {"apiKey": "hush-elevenlabs"},
    "deepgram": {"apiKey": "hush-deepgram"},
    "numbers": {"+15550001234": {"tts": {"openai": {"apiKey": "hush-number"}}}},
    "realtime": {"tools": [{"type": "mcp", "authorization": "hush-tool"}]},
    "store": "redis://hush-user:hush-password@127.0.0.1:6379/0?password=hush-query",
    "rpc": {"token": "hush-rpc"},
}


def test_no_secret_appears_in_repr_or_description(loading: Loading) -> None:
    loaded = loading(json.dumps(SECRETS))
    rows = describe(loaded)
    assert "hush" not in repr(loaded)
    assert "hush" not in str(loaded.config)
    assert "hush" not in repr(rows)
    assert "hush" not in repr(loaded.warnings)
    assert "hush" not in json.dumps([row.value for row in rows])
    assert sum(row.value == "***" for row in rows) >= 13


def test_no_secret_appears_in_any_error(loading: Loading) -> None:
    broken = {
        **SECRETS,
        "provider": "hush-provider",
        "twilio": {"authToken": ["hush-twilio"]},
        "openai": {"apiKey": ["hush"], "baseUrl": "hush"},
        "store": "mysql://hush:hush@host",
        "publicUrl": "https://hush:hush@example.com",
        "apiKey": "hush-misplaced",
        "fromNumber": "${TOKEN}",
    }
    with pytest.raises(ConfigError) as refusal:
        loading(json.dumps(broken), TOKEN="hush-expanded", DEEPGRAM_API_KEY="hush-environment")
    assert len(refusal.value.problems) >= 7
    text = "".join(traceback.format_exception_only(refusal.value))
    assert "hush" not in text
    assert "hush" not in repr(refusal.value)
    assert refusal.value.__cause__ is None
    assert refusal.value.__context__ is None
