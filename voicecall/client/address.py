"""Where the server is that runs with a configuration, and what it wants to see and show."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from voicecall.errors import ConfigError

if TYPE_CHECKING:
    import ssl
    from pathlib import Path

    from pydantic import SecretStr

    from voicecall.config.load import LoadedConfig
    from voicecall.config.schema import Config

# Addresses that stand for all of a machine's, by one at which it reaches itself.
_ANY: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  (nothing is bound here)
_MARGIN_S: Final = 30.0


@dataclass(frozen=True, slots=True)
class ServerAddress:
    """How a server is reached.

    Attributes:
        url: of its control plane, without a path.
        token: what it wants to see.
        verify: whose certificate is believed: that of any known authority, or those of a context.
        call_timeout_s: how long what lasts as long as people speak may take.
    """

    url: str
    token: str = field(repr=False)
    verify: ssl.SSLContext | bool
    call_timeout_s: float


def address_of(loaded: LoadedConfig) -> ServerAddress:
    """The address of the server that runs with this configuration on this machine.

    Args:
        loaded: says where the server listens, and its token, unless that was generated and is in
            the state directory.

    Raises:
        ConfigError: it is not known where the server is, or its token, or its certificate cannot
            be read.
    """
    config = loaded.config
    return ServerAddress(
        url=server_url(config),
        token=_token(loaded).get_secret_value(),
        verify=True if config.serve.tls is None else _trusting(config.serve.tls.cert),
        # Longer than an answer is waited for, and than any call lasts.
        call_timeout_s=max(config.transcript_timeout_ms / 1000, config.max_duration_seconds)
        + _MARGIN_S,
    )


def server_url(config: Config) -> str:
    """Where the server that runs with this configuration is reached from this machine.

    Raises:
        ConfigError: it listens on whatever port was free.
    """
    serve = config.serve
    if not serve.port:
        raise ConfigError("serve.port: is 0, so nobody knows where the server is; set a port")
    host = _ANY.get(serve.bind, serve.bind)
    scheme = "https" if serve.tls else "http"
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{serve.port}"


def _token(loaded: LoadedConfig) -> SecretStr:
    # With the models of the configuration behind it, which are there once there is one.
    from voicecall.config.state import read_rpc_token  # noqa: PLC0415

    token = loaded.config.rpc.token or read_rpc_token(loaded.state_directory)
    if token is None:
        raise ConfigError(
            "rpc.token: there is none, and no server has made one in "
            f"{loaded.state_directory}; start one with: voicecall serve"
        )
    return token


def _trusting(certificate: Path) -> ssl.SSLContext:
    """A context that believes the server's own certificate, which is in its configuration."""
    import ssl  # noqa: PLC0415  (most servers on this machine have no certificate)

    try:
        context = ssl.create_default_context(cafile=str(certificate))
    except OSError as error:
        raise ConfigError(f"serve.tls.cert: cannot be read: {error}") from error
    # It is made for a public name, and may have been issued by somebody else.
    context.check_hostname = False
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    return context
