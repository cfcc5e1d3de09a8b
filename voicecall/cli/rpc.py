"""Asking the running server: where it is, how it knows us, and what it says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from voicecall.errors import ConfigError, RemoteError

if TYPE_CHECKING:
    import ssl
    from collections.abc import Mapping
    from pathlib import Path

    import httpx

    from voicecall.config.load import LoadedConfig
    from voicecall.config.schema import Config

_TIMEOUT_S: Final = 30.0
_UNAUTHORIZED: Final = 401
_OK: Final = 200
# Addresses that stand for all of a machine's, by one at which it reaches itself.
_ANY: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  (nothing is bound here)


def ask(
    loaded: LoadedConfig, method: str, timeout_s: float = _TIMEOUT_S, /, **params: object
) -> dict[str, Any]:
    """The answer of the server that runs with this configuration.

    Args:
        loaded: the configuration, which says where the server listens, and its token, unless that
            was generated and is in the state directory.
        method: without the `voicecall.` in front.
        timeout_s: how long it may take.
        params: by name, as the method takes them; None is left out.

    Raises:
        ConfigError: it is not known where the server is, or its token.
        RemoteError: none runs there, it did not answer, or answered with an error.
    """
    import httpx  # noqa: PLC0415  (not worth loading for `--help`)

    url, token = server_url(loaded.config), _token(loaded)
    given = {name: value for name, value in params.items() if value is not None}
    body = {"jsonrpc": "2.0", "id": 1, "method": f"voicecall.{method}", "params": given}
    try:
        response = httpx.post(
            f"{url}/rpc",
            json=body,
            headers={"Authorization": f"Bearer {token}"},
            timeout=timeout_s,
            verify=_trust(loaded.config),
            # Whoever runs a server here does not mean to ask a proxy for it.
            trust_env=False,
        )
    except httpx.ConnectError as error:
        raise RemoteError(
            f"no server answers at {url}; start one with: voicecall serve", retryable=True
        ) from error
    except httpx.TimeoutException as error:
        raise RemoteError(
            f"the server at {url} did not answer within {timeout_s:g} s", retryable=True
        ) from error
    except httpx.HTTPError as error:
        raise RemoteError(f"the connection to {url} broke: {type(error).__name__}") from error
    return _result(url, response)


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


def _token(loaded: LoadedConfig) -> str:
    from voicecall.config.state import read_rpc_token  # noqa: PLC0415  (as above)

    token = loaded.config.rpc.token or read_rpc_token(loaded.state_directory)
    if token is None:
        raise ConfigError(
            "rpc.token: there is none, and no server has made one in "
            f"{loaded.state_directory}; start one with: voicecall serve"
        )
    return token.get_secret_value()


def _trust(config: Config) -> ssl.SSLContext | bool:
    """Whose certificate is believed: the server's own, which is in its configuration."""
    return True if config.serve.tls is None else _trusting(config.serve.tls.cert)


def _trusting(certificate: Path) -> ssl.SSLContext:
    import ssl  # noqa: PLC0415  (as above)

    try:
        context = ssl.create_default_context(cafile=str(certificate))
    except OSError as error:
        raise ConfigError(f"serve.tls.cert: cannot be read: {error}") from error
    # It is made for a public name, and may have been issued by somebody else.
    context.check_hostname = False
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    return context


def _result(url: str, response: httpx.Response) -> dict[str, Any]:
    if response.status_code == _UNAUTHORIZED:
        raise ConfigError(
            f"rpc.token: the server at {url} has another one; was it started with this "
            "configuration?"
        )
    answer = _object(response) if response.status_code == _OK else {}
    match answer:
        case {"result": dict(result)}:
            return result
        case {"error": {"message": str(message), **rest}}:
            data = rest.get("data")
            raise RemoteError(message, **_details(data if isinstance(data, dict) else {}))
    raise RemoteError(f"what answers at {url} is no voicecall server", status=response.status_code)


def _object(response: httpx.Response) -> dict[str, Any]:
    try:
        answer = response.json()
    except ValueError:
        return {}
    return answer if isinstance(answer, dict) else {}


def _details(data: Mapping[str, Any]) -> dict[str, Any]:
    return {"retryable": data.get("retryable") is True, "status": data.get("status")}
