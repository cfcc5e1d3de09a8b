"""A configuration file and an environment: a complete configuration, or what is wrong and where.

Lines `NAME=value` before the first line `---` are the environment; the rest is the file. Every
variable that may hold a secret holds one unless the input says otherwise.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pydantic import BaseModel, SecretStr

from tests.fuzz import watch
from tests.fuzz.target import Target
from voicecall._codec import Pacer
from voicecall.config.describe import describe
from voicecall.config.environment import VARIABLES
from voicecall.config.load import LoadedConfig, load
from voicecall.config.schema import Config
from voicecall.errors import ConfigError
from voicecall.server import _media_settings

FILE = "voicecall.json5"
# In no configuration by chance, and acceptable wherever a secret is.
SECRET = "hunter2-"
SECRETS = {
    name: f"{SECRET}{name}"
    for name in VARIABLES.values()
    if re.search("TOKEN|(?<!PUBLIC_)KEY$", name)
}
# What a sentence of ours begins with: a path of keys, or of a file and a place in it.
NAMED = re.compile(r"[^:]+(?:\(from \S+\))?: ?\S|\S+:\d+:\d+: \S", re.DOTALL)
# These say which file they mean, and a file name is no secret.
FILE_KEYS = ("serve.tls.cert", "serve.tls.key", "mock.persona")


def check(data: bytes) -> None:
    environ, content = environment_of(data)
    with TemporaryDirectory(prefix="voicecall-fuzz-") as folder, watch.no_errors_logged():
        home = Path(folder)
        (home / FILE).write_bytes(content)
        try:
            loaded = load(environ=environ, cwd=home, home=home)
        except ConfigError as error:
            check_problems(error, content, home)
            return
        check_loaded(loaded, environ, content)


def environment_of(data: bytes) -> tuple[Mapping[str, str], bytes]:
    head, separator, content = data.partition(b"---\n")
    if not separator:
        return SECRETS, data
    lines = (line.partition(b"=") for line in head.split(b"\n"))
    given = {
        # What the system hands to a process: no NUL, and octets that are not UTF-8 escaped.
        name.decode("utf-8", "surrogateescape"): value.decode("utf-8", "surrogateescape")
        for name, equals, value in lines
        if equals and b"\0" not in name + value and name != b"VOICECALL_CONFIG"
    }
    return SECRETS | given, content


def check_problems(error: ConfigError, content: bytes, home: Path) -> None:
    """Each is one sentence that can be printed, says where, and tells no secret."""
    assert error.problems
    for problem in error.problems:
        assert NAMED.match(problem), problem
        assert str(home) not in problem.replace(str(home / FILE), "") or file_of(problem)
        if not file_of(problem):
            # A terminal can show it.
            problem.encode()
            assert not any(
                secret in problem for secret in SECRETS.values() if secret.encode() not in content
            )
        if problem.startswith(f"{home / FILE}:") and "uplicate key" not in problem:
            assert SECRET not in problem


def file_of(problem: str) -> bool:
    return problem.startswith(FILE_KEYS)


def check_loaded(loaded: LoadedConfig, environ: Mapping[str, str], content: bytes) -> None:
    """It is complete, it can be shown, and it can be served with."""
    config = loaded.config
    again = Config.model_validate(config.model_dump(by_alias=True))
    assert again == config
    hidden = [secret.get_secret_value() for secret in secrets_of(config)]
    assert all(hidden)
    shown = json.dumps([[row.path, row.value] for row in describe(loaded)], allow_nan=False)
    said = "\n".join((repr(config), *loaded.warnings, *loaded.ignored))
    shown.encode()
    said.encode()
    if b"${" not in content and SECRET.encode() not in content and environ == SECRETS:
        assert SECRET not in shown
        assert SECRET not in said
    check_usable(config)


def check_usable(config: Config) -> None:
    """What a call would be made with takes the numbers as they are."""
    settings = _media_settings(config)
    Pacer(8000, 0xFF, settings.frame_ms, settings.lead_ms, settings.group)
    assert 0 <= config.outbound.notify_hangup_delay_sec <= 600
    assert 0 < config.stt.vad_threshold < 1
    assert config.streaming.enabled in {True, False}


def secrets_of(section: BaseModel) -> Iterator[SecretStr]:
    for name in type(section).model_fields:
        value: Any = getattr(section, name)
        if isinstance(value, SecretStr):
            yield value
        elif isinstance(value, BaseModel):
            yield from secrets_of(value)


def seeds() -> Sequence[bytes]:
    return [
        b"",
        b"{}",
        b"// nothing\n{ provider: 'mock', serve: { port: 0 } }",
        b'{"provider":"twilio","fromNumber":"+15550001111","publicUrl":"https://a.example.com"}',
        b"OPENAI_API_KEY=hunter2-x\n---\n{ stt: { provider: 'openai' } }",
    ]


TOKENS = (
    *(f"{section}: {{".encode() for section in ("serve", "streaming", "stt", "tts", "numbers")),
    *(f"'${{{name}}}'".encode() for name in SECRETS),
    b"provider: 'telnyx',",
    b"provider: 'log',",
    b"fromNumber: '+15550001111',",
    b"toNumber: 'hunter2-literal',",
    b"'+15550002222': {",
    b"plugins: { entries: { 'voice-call': { config: {",
    b"outbound: { notifyHangupDelaySec: NaN },",
    b"store: 'redis://:hunter2-literal@host/0',",
    b"realtime: { tools: [{}] },",
    b"__proto__: {},",
    b"'${NONE}'",
    b"'$${NONE}'",
    b"Infinity",
    b"-0x7fffffffffffffffff",
    b"1e400",
    b"'\\uD800'",
    b"'\\u0000'",
    b"'a.b'",
    b"null",
    b"true",
    b"[" * 60,
    b"{",
    b"}",
    b",",
    b"/*",
    b"---\n",
    b"\n",
)
TARGET = Target(check=check, allowed=(), seeds=seeds, tokens=TOKENS, guided=True)
