"""Whether the server's ports are free, or its own already."""

from __future__ import annotations

from typing import TYPE_CHECKING

from voicecall.diagnosis.check import fail, ok
from voicecall.diagnosis.listeners import holder, is_free

if TYPE_CHECKING:
    from voicecall.config.schema import Config
    from voicecall.diagnosis.check import Finding


async def look_at_ports(config: Config, *, running: bool) -> Finding:
    """Who has the ports.

    Args:
        config: says which.
        running: whether a server of this configuration runs; then they are its own.

    Raises:
        ServeError: an address is not of this machine, or a port takes rights we have not.
    """
    wanted = [("serve.port", config.serve.bind, config.serve.port)]
    if config.streaming.enabled:
        wanted.append(("streaming.port", config.streaming.bind, config.streaming.port))
    fixed = [(key, bind, port) for key, bind, port in wanted if port]
    numbers = " and ".join(str(port) for _, _, port in fixed) or "any that are free"
    if running:
        who = holder(config.serve.port)
        return ok(f"{numbers}: the running server's" + (f", {who}" if who else ""))
    taken = [(key, port) for key, bind, port in fixed if not is_free(bind, port)]
    if not taken:
        return ok(f"{numbers}: free")
    found, remedies = [], []
    for key, port in taken:
        who = holder(port)
        found.append(f"{port} is taken by {who or 'a process of another user'}")
        stop = f"kill {who.pid}" if who else f"sudo ss -ltnp 'sport = :{port}' tells who has it"
        remedies.append(f"{stop}    (or set {key} to another one)")
    return fail("; ".join(found), "\n".join(remedies))
