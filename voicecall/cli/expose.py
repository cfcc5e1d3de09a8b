"""`voicecall expose`: set up or take away the way in through Tailscale."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final, Literal
from urllib.parse import urlsplit

import click

from voicecall.cli.invocation import Invocation, emit_json, json_option
from voicecall.cli.progress import working
from voicecall.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from voicecall.config.schema import Config
    from voicecall.exposure.plan import Local
    from voicecall.exposure.published import Mode, Route

_TITLES: Final = {"routes": "route", "removed": "taken away", "kept": "left alone"}
_NGROK: Final = (
    'tunnel.provider: is "ngrok", whose tunnels last as long as their agent; the server opens one '
    "when it starts and closes it when it stops: voicecall serve"
)


def _url_path(ctx: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    if value is None:
        return None
    # Not worth loading for `--help`.
    from pydantic import TypeAdapter, ValidationError  # noqa: PLC0415

    from voicecall.config.schema import UrlPath  # noqa: PLC0415

    try:
        return str(TypeAdapter(UrlPath).validate_python(value))
    except ValidationError as error:
        raise click.BadParameter(
            "must be an absolute path such as /voice/webhook, without a query", ctx, parameter
        ) from error


@click.command("expose")
@click.option(
    "--mode",
    type=click.Choice(["off", "serve", "funnel"]),
    help="serve: within the tailnet. funnel: from the whole internet, as carriers need it. off: "
    "take the routes away.  [default: as configured, or funnel]",
)
@click.option(
    "--path",
    callback=_url_path,
    help="Path of the public URL.  [default: tailscale.path, or serve.path]",
)
@click.option(
    "--port",
    type=click.IntRange(1, 65535),
    help="Port on this machine that takes the webhooks.  [default: serve.port]",
)
@click.option(
    "--serve-path",
    callback=_url_path,
    help="Path on this machine that takes the webhooks.  [default: serve.path]",
)
@json_option
@click.pass_obj
def command(
    invocation: Invocation,
    mode: Mode | Literal["off"] | None,
    path: str | None,
    port: int | None,
    serve_path: str | None,
) -> None:
    """Lead a public URL here through Tailscale, or take that away.

    The webhook's path is routed to the server of this configuration, and the media path unless
    media have a public URL of their own. What others serve is never changed.

    The routes stay until they are taken away, with or without a server. A server whose
    configuration asks for Tailscale sets and removes them by itself, and one that asks for ngrok
    opens its tunnel by itself: neither needs this command.

    Example: voicecall expose --mode funnel
    """
    from voicecall.exposure import plan  # noqa: PLC0415  (as above)

    given = invocation.load_config().config
    config, local = _server(given, port, serve_path)
    wanted = path or plan.mount(config)
    if mode == "off":
        plan.check_tailscale(config, "serve", wanted)
        with working("taking the routes away"):
            result = asyncio.run(_take_away(config, plan.routes(config, local, wanted)))
    else:
        chosen = mode or _configured_mode(given)
        plan.check_tailscale(config, chosen, wanted)
        # A first certificate takes its time.
        with working(f"setting routes: tailscale {chosen}"):
            result = asyncio.run(_set_up(config, chosen, plan.routes(config, local, wanted)))
    if invocation.wants_json:
        emit_json(result)
    else:
        _print(result)
    for advice in _advice(given, result):
        click.echo(advice, err=True)


def _server(config: Config, port: int | None, serve_path: str | None) -> tuple[Config, Local]:
    """The configuration with what the options change, and where that server listens."""
    from voicecall.client.address import server_url  # noqa: PLC0415  (as above)
    from voicecall.exposure.plan import Local  # noqa: PLC0415

    serve, streaming = config.serve, config.streaming
    serve = serve.model_copy(update={"port": port or serve.port, "path": serve_path or serve.path})
    config = config.model_copy(update={"serve": serve})
    media = None
    if streaming.enabled and streaming.port:
        plain = serve.model_copy(
            update={"port": streaming.port, "bind": streaming.bind or serve.bind, "tls": None}
        )
        media = server_url(config.model_copy(update={"serve": plain}))
    return config, Local(server_url(config), media)


def _configured_mode(config: Config) -> Mode:
    from voicecall.exposure import plan  # noqa: PLC0415  (as above)

    if config.tunnel.provider == "ngrok":
        raise ConfigError(_NGROK)
    # Which one is meant, though `publicUrl` would win over it in the server.
    way = plan.way(config.model_copy(update={"public_url": None}))
    return "funnel" if way is None else plan.MODES[way]


async def _set_up(config: Config, mode: Mode, routes: Sequence[Route]) -> dict[str, Any]:
    from voicecall.exposure.tailscale import Tailscale  # noqa: PLC0415  (as above)

    door = await Tailscale(mode, config.tailscale.port, routes).open()
    webhook, *stream = routes
    stream_url = f"{door.url.replace('https', 'wss', 1)}{stream[0].path}" if stream else None
    return {
        "mode": mode,
        "publicUrl": f"{door.url}{webhook.path}",
        "streamUrl": stream_url or _stream_url(config),
        "routes": [_as_json(route) for route in routes],
    }


def _stream_url(config: Config) -> str | None:
    """Where media come in if not this way."""
    public = config.streaming.public_url if config.streaming.enabled else None
    if public is None:
        return None
    parts = urlsplit(public)
    scheme = "ws" if parts.scheme == "http" else "wss"
    return f"{scheme}://{parts.netloc}{config.streaming.stream_path}"


async def _take_away(config: Config, routes: Sequence[Route]) -> dict[str, Any]:
    from voicecall.exposure.tailscale import Tailscale  # noqa: PLC0415  (as above)

    removal = await Tailscale("serve", config.tailscale.port, routes).remove()
    return {
        "mode": "off",
        "removed": [_as_json(route) for route in removal.removed],
        "kept": [_as_json(route) for route in removal.kept],
    }


def _as_json(route: Route) -> dict[str, str]:
    return {"path": route.path, "target": route.target}


def _advice(config: Config, result: Mapping[str, Any]) -> Iterator[str]:
    """What is left to do."""
    for route in result.get("kept", ()):
        yield f"{route['path']} leads to {route['target']}, not to this server, and was left alone"
    url = result.get("publicUrl")
    if url is None:
        return
    if result["mode"] == "serve" and config.provider != "mock":
        yield f"only the tailnet reaches this: {config.provider} cannot; see --mode funnel"
    if not _knows(config, result["mode"], url):
        yield f'set publicUrl: "{url}" in the configuration and start the server again'


def _knows(config: Config, mode: str, url: str) -> bool:
    """Whether a server with this configuration tells carriers this URL."""
    if config.public_url is not None:
        return config.public_url.rstrip("/") == url
    return mode == config.tailscale.mode or f"tailscale-{mode}" == config.tunnel.provider


def _print(result: Mapping[str, Any]) -> None:
    # Slow to import, and only needed on a terminal.
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    table = Table(box=None, show_header=False, pad_edge=False)
    for key in ("publicUrl", "streamUrl"):
        if result.get(key):
            table.add_row(key, result[key])
    for title in ("routes", "removed", "kept"):
        for route in result.get(title, ()):
            table.add_row(_TITLES[title], f"{route['path']} -> {route['target']}")
    if not table.rows:
        table.add_row("nothing of this server was served")
    Console(highlight=False, soft_wrap=True).print(table)
