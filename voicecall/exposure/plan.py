"""How the configuration wants the server to be reached from outside.

`tunnel.provider: "tailscale-serve"` and `tailscale.mode: "serve"` mean the same, and so for funnel;
`tailscale.path` and `tailscale.port` hold for both spellings. `publicUrl` wins over all of them:
whoever sets it has made the server reachable already.

Media come in by the same name. ngrok has one port, so its media sockets arrive at the control
plane's, which serves them too. Tailscale tells paths apart, so there they go straight to the media
port, if there is one. With `streaming.publicUrl` they come by a way of their own, and no tunnel has
to carry them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from voicecall.config.schema import WEBHOOK_PATH
from voicecall.errors import ConfigError
from voicecall.exposure.ngrok import Ngrok
from voicecall.exposure.published import Route
from voicecall.exposure.tailscale import Tailscale

if TYPE_CHECKING:
    from collections.abc import Mapping

    from voicecall.config.schema import Config
    from voicecall.exposure.exposure import Tunnel
    from voicecall.exposure.published import Mode

Way: TypeAlias = Literal["ngrok", "tailscale-serve", "tailscale-funnel"]

# https://tailscale.com/kb/1223/funnel
FUNNEL_PORTS: Final = (443, 8443, 10000)
MODES: Final[Mapping[str, Mode]] = {"tailscale-serve": "serve", "tailscale-funnel": "funnel"}
_WAYS: Final[Mapping[str, Way]] = {"serve": "tailscale-serve", "funnel": "tailscale-funnel"}


@dataclass(frozen=True, slots=True)
class Local:
    """Where the server listens on this machine.

    Attributes:
        control: URL of the control plane, without a path.
        media: URL of the media plane's own port; None where it has none.
    """

    control: str
    media: str | None = None


def is_wanted(config: Config) -> bool:
    """Whether any tunnel is asked for, be it opened or not."""
    return config.tunnel.provider != "none" or config.tailscale.mode != "off"


def way(config: Config) -> Way | None:
    """The tunnel to open; None for none.

    Raises:
        ConfigError: two different ones are asked for, or one that cannot be; names the keys.
    """
    if config.public_url is not None:
        return None
    provider, mode = config.tunnel.provider, config.tailscale.mode
    wanted = _WAYS.get(mode)
    if provider == "none":
        chosen = wanted
    elif wanted in (None, provider):
        chosen = provider
    else:
        raise ConfigError(
            f'tunnel.provider: is "{provider}" while tailscale.mode is "{mode}"; one server is '
            "reached in one way: remove one of the two"
        )
    if chosen is not None and chosen in MODES:
        check_tailscale(config, MODES[chosen], mount(config))
    return chosen


def check_tailscale(config: Config, mode: Mode, path: str) -> None:
    """Whether Tailscale can serve that.

    Raises:
        ConfigError: it cannot; with every problem there is.
    """
    problems = []
    if mode == "funnel" and config.tailscale.port not in FUNNEL_PORTS:
        problems.append(
            f"tailscale.port: is {config.tailscale.port}; funnel only works on "
            f"{', '.join(map(str, FUNNEL_PORTS))}"
        )
    if path == "/":
        problems.append(
            "tailscale.path: is /, which would put everything on this port outside, RPC included; "
            f"name a path such as {WEBHOOK_PATH}"
        )
    if config.streaming.enabled and path == config.streaming.stream_path:
        problems.append("tailscale.path: must not be the same as streaming.streamPath")
    if problems:
        raise ConfigError(*problems)


def mount(config: Config) -> str:
    """The path at which Tailscale serves the webhook: the same as here, unless it is said."""
    said = "path" in config.tailscale.model_fields_set
    return config.tailscale.path if said else config.serve.path


def routes(config: Config, local: Local, path: str) -> list[Route]:
    """What Tailscale has to serve: the webhook at `path`, and media if they come this way."""
    # Our certificate, if there is one, is not made for this machine's own address.
    control = local.control.replace("https://", "https+insecure://", 1)
    wanted = [Route(path, f"{control}{config.serve.path}")]
    if config.streaming.enabled and config.streaming.public_url is None:
        stream_path = config.streaming.stream_path
        before = "" if local.media else prefix(path, config.serve.path)
        target = f"{local.media or control}{stream_path}"
        wanted.append(Route(f"{before}{stream_path}", target))
    return wanted


def prefix(path: str, served: str) -> str:
    """What stands before `served` in the path of a public URL; all that is there comes after it.

    Media that come to the port of the webhook are found behind it as well. Empty where the public
    path is another one altogether.
    """
    path, served = path.rstrip("/"), served.rstrip("/")
    return path.removesuffix(served) if path.endswith(served) else ""


def tunnel(config: Config, chosen: Way, local: Local) -> Tunnel:
    """The tunnel that `way` chose, ready to be opened."""
    if chosen == "ngrok":
        return Ngrok(
            local.control,
            auth_token=config.tunnel.ngrok_auth_token,
            domain=config.tunnel.ngrok_domain,
        )
    wanted = routes(config, local, mount(config))
    return Tailscale(MODES[chosen], config.tailscale.port, wanted)
