"""Whether a public URL's certificate is one that carriers accept, and for how much longer."""

from __future__ import annotations

import asyncio
import ssl
import time
from typing import TYPE_CHECKING, Final

from voicecall.diagnosis.check import fail, ok, warn
from voicecall.errors import RemoteError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from voicecall.diagnosis.address import Place
    from voicecall.diagnosis.check import Finding
    from voicecall.diagnosis.network import Network

SOON_DAYS: Final = 14
"""Certificates are renewed a month before they expire; with less left, that has failed twice."""

_DAY_S = 86_400
_RENEW = "renew the certificate: certbot renew    (and have the proxy load it again)"
# What OpenSSL calls X509_V_ERR_…, by number.
_REFUSED: Final[Mapping[int, tuple[str, str]]] = {
    10: ("has expired", _RENEW),
    9: ("is not valid yet", "check this machine's clock: timedatectl; else renew it"),
    18: (
        "is self-signed",
        "have it issued by an authority that carriers believe: certbot certonly",
    ),
    19: (
        "is issued by an authority of one's own",
        "have it issued by an authority that carriers believe: certbot certonly",
    ),
    20: (
        "comes without the certificates between it and an authority that is believed",
        "have the proxy send the whole chain (fullchain.pem instead of cert.pem)",
    ),
    21: (
        "comes without the certificates between it and an authority that is believed",
        "have the proxy send the whole chain (fullchain.pem instead of cert.pem)",
    ),
    62: ("is made for other names", "have one issued for this name: certbot certonly -d {host}"),
    64: ("is made for other addresses", "use a host name, with a certificate that is made for it"),
}


async def look_at_certificate(place: Place, network: Network) -> Finding:
    """Open a TLS connection and look at what is shown.

    Raises:
        RemoteError: there is no connection.
    """
    try:
        return _judged(await _shown(place, network))
    except ssl.SSLCertVerificationError as error:
        what, remedy = _REFUSED.get(
            error.verify_code, (f"is not accepted: {error.verify_message}", _RENEW)
        )
        return fail(f"the certificate of {place.host} {what}", remedy.format(host=place.host))
    except ssl.SSLError as error:
        return fail(
            f"{place.host} port {place.port} does not speak TLS ({error.reason or 'no reason'})",
            f"have the proxy serve HTTPS on port {place.port}",
        )
    except TimeoutError as error:
        raise RemoteError(
            f"{place.host} port {place.port} does not answer within {network.timeout_s:g} s"
        ) from error
    except OSError as error:
        raise RemoteError(
            f"no connection to {place.host} port {place.port}: {error.strerror or error}"
        ) from error


async def _shown(place: Place, network: Network) -> Mapping[str, object]:
    async with asyncio.timeout(network.timeout_s):
        _, writer = await asyncio.open_connection(
            place.host, place.port, ssl=network.trust, server_hostname=place.host
        )
    try:
        certificate = writer.get_extra_info("peercert")
        return dict(certificate or {})
    finally:
        # Closing in order would wait for a peer that need not answer.
        writer.transport.abort()


def _judged(certificate: Mapping[str, object]) -> Finding:
    expires = str(certificate["notAfter"])
    left_days = int((ssl.cert_time_to_seconds(expires) - time.time()) // _DAY_S)
    if left_days < SOON_DAYS:
        return warn(f"valid, and expires in {left_days} days", _RENEW)
    return ok(f"valid for {left_days} days")
