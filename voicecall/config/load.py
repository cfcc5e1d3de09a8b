"""Loading: from a file and the environment to one complete, frozen configuration."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from pydantic import ValidationError

from voicecall.config import environment, file, openclaw, requirements
from voicecall.config.derive import derive
from voicecall.config.keys import take_unknown
from voicecall.config.merge import deep_merge
from voicecall.config.paths import fill, leaves, matching, pop, value_at
from voicecall.config.problems import sentences
from voicecall.config.schema import IN_MEMORY, Config, NumberSettings
from voicecall.config.state import STORE_NAME, state_directory
from voicecall.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

Origin: TypeAlias = Literal["default", "file", "environment"]

# Keys that name files, which have to exist.
_FILES: Final = ("serve.tls.cert", "serve.tls.key", "mock.persona")
_RESPONDERS: Final = ("responseModel", "numbers.*.responseModel")
_SCRIPTED: Final = "scripted/"
_BUILTIN: Final = "scripted/builtin"


@dataclass(frozen=True, slots=True)
class LoadedConfig:
    """A configuration and how it came about.

    Attributes:
        config: complete; nothing is left to resolve.
        path: the file read, None for built-in defaults.
        state_directory: where generated state belongs; it need not exist.
        warnings: sentences for the operator.
        ignored: keys of the file that mean nothing here.
        origins: for each key that was given, by what. A key that is not in it has its default.
    """

    config: Config
    path: Path | None
    state_directory: Path
    warnings: tuple[str, ...]
    ignored: tuple[str, ...]
    origins: Mapping[str, Origin]


@dataclass(slots=True)
class _Draft:
    """Settings on their way.

    `unset` holds by path what is wrong with values whose variable is missing, `labels` where a
    value came from that was not given under its own key.
    """

    settings: dict[str, Any]
    unset: dict[str, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)
    labels: dict[str, str] = field(default_factory=dict)
    origins: dict[str, Origin] = field(default_factory=dict)


def load_config(path: Path | str | None = None) -> Config:
    """The configuration that the command line would use here: file, environment, defaults.

    Args:
        path: the file; None takes `$VOICECALL_CONFIG`, `./voicecall.json5` or the user's own, and
            the built-in defaults where there is none of them.

    Raises:
        ConfigError: with every problem there is.
    """
    chosen = None if path is None else Path(path)
    return load(chosen, environ=os.environ, cwd=Path.cwd(), home=Path.home()).config


def load(
    path: Path | None = None, *, environ: Mapping[str, str], cwd: Path, home: Path
) -> LoadedConfig:
    """Find, read, complete and check the configuration.

    Args:
        path: the file to read; None looks in the usual places.
        environ: the process's environment.
        cwd: where relative paths start when no file was read.
        home: the user's home directory.

    Raises:
        ConfigError: with every problem there is, each naming the full path of its key. No
            problem repeats a secret.
    """
    found = file.find(path, environ, cwd=cwd, home=home)
    draft = _from_file(file.read(found) if found else {}, environ)
    _add_environment(draft, environ)
    _locate_files(draft, directory=found.parent if found else cwd, home=home)
    state = state_directory(environ, home)
    fill(draft.settings, "store", str(state / STORE_NAME))
    draft.problems += requirements.missing(draft.settings)
    config = _validated(draft)
    return LoadedConfig(
        config=config,
        path=found,
        state_directory=state,
        warnings=(*draft.warnings, *_advice(config)),
        ignored=tuple(draft.ignored),
        origins=draft.origins,
    )


def _from_file(content: dict[str, Any], environ: Mapping[str, str]) -> _Draft:
    host_file = openclaw.is_host_file(content)
    settings = openclaw.unwrap(content) if host_file else deep_merge(content, {})
    ignored = openclaw.drop_host_keys(settings, host_file=host_file)
    settings, unset = environment.expand(settings, environ)
    labels, warnings = openclaw.modernise(settings)
    return _Draft(
        settings=settings,
        problems=take_unknown(Config, settings),
        unset=unset,
        warnings=warnings + [f"{path}: is ignored" for path in ignored if not host_file],
        ignored=ignored,
        labels=labels,
        origins={path: "file" for path, value in leaves(settings) if value is not None},
    )


def _add_environment(draft: _Draft, environ: Mapping[str, str]) -> None:
    for path, variable in environment.supply(draft.settings, environ).items():
        draft.labels[path] = variable
        draft.origins[path] = "environment"


def _locate_files(draft: _Draft, *, directory: Path, home: Path) -> None:
    """Make file names absolute: they are relative to the file that holds them."""
    for path in _FILES:
        name = value_at(draft.settings, path)
        if isinstance(name, str) and name:
            located = file.resolve(name, directory=directory, home=home)
            _replace(draft.settings, path, located)
            if not os.path.isfile(located):
                draft.problems.append(f"{path}: there is no file {located}")
    store = draft.settings.get("store")
    if isinstance(store, str) and store not in {"", IN_MEMORY} and "://" not in store:
        draft.settings["store"] = file.resolve(store, directory=directory, home=home)
    for path in (found for pattern in _RESPONDERS for found in matching(draft.settings, pattern)):
        model = value_at(draft.settings, path)
        if isinstance(model, str) and model.startswith(_SCRIPTED) and model != _BUILTIN:
            name = model.removeprefix(_SCRIPTED)
            located = file.resolve(name, directory=directory, home=home)
            _replace(draft.settings, path, f"{_SCRIPTED}{located}")


def _replace(settings: dict[str, Any], path: str, value: str) -> None:
    pop(settings, path)
    fill(settings, path, value)


def _validated(draft: _Draft) -> Config:
    complete = derive(draft.settings)
    draft.warnings += requirements.unready_speech(complete)
    try:
        config = Config.model_validate(complete)
    except ValidationError as error:
        draft.problems += sentences(error, draft.origins, draft.labels)
    else:
        if not draft.problems and not draft.unset:
            return config
    # A value whose variable is missing is not worth a second complaint.
    blamed = tuple(f"{path}:" for path in draft.unset)
    others = [problem for problem in draft.problems if not problem.startswith(blamed)]
    raise ConfigError(*draft.unset.values(), *others)


def _advice(config: Config) -> list[str]:
    """What is allowed but seldom meant."""
    advice = []
    if config.skip_signature_verification:
        advice.append(
            "skipSignatureVerification: webhooks are NOT verified, anybody can forge calls;"
            " for development only"
        )
    if 0 < config.stale_call_reaper_seconds <= config.max_duration_seconds:
        advice.append(
            "staleCallReaperSeconds: is not above maxDurationSeconds; answered calls are left to"
            " maxDurationSeconds"
        )
    bypass = config.tunnel.allow_ngrok_free_tier_loopback_bypass
    if bypass and config.tunnel.provider == "ngrok":
        advice.append(
            "tunnel.allowNgrokFreeTierLoopbackBypass: webhooks from the local tunnel are accepted"
            " with invalid signatures; for development only"
        )
    return advice + _tool_advice(config)


def _tool_advice(config: Config) -> list[str]:
    """Where a reply is given up before the tool that it waits for."""
    general = NumberSettings()
    everywhere = {"": general} | {f"numbers.{key}.": of for key, of in config.numbers.items()}
    advice = []
    for prefix, own in everywhere.items():
        if own is not general and own.tools is None and own.response_timeout_ms is None:
            continue
        tools = own.tools or config.tools
        response_timeout_ms = own.response_timeout_ms or config.response_timeout_ms
        # Speech to speech waits for tools as long as they take, and scripts use none.
        realtime = (own.realtime or config.realtime).enabled
        scripted = (own.response_model or config.response_model).startswith(_SCRIPTED)
        if tools.timeout_ms >= response_timeout_ms and not realtime and not scripted:
            advice.append(
                f"{prefix}tools.timeoutMs: is not below {prefix}responseTimeoutMs; a reply that"
                " waits for a slow tool may be given up before the tool is"
            )
    return advice
