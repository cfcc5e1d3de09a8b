from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
import trustme

from tests.diagnosis.scene import HOST, Proxy, Route, network, run, server_context
from tests.hosting import free_port
from voicecall.diagnosis.address import Place
from voicecall.diagnosis.certificate import look_at_certificate
from voicecall.errors import RemoteError

if TYPE_CHECKING:
    from voicecall.diagnosis.check import Finding
    from voicecall.diagnosis.network import Network

pytestmark = pytest.mark.socket


async def shown(tls: ssl.SSLContext | None, trusting: Network) -> Finding:
    async with Proxy([Route("/", answer="200 OK")], tls) as proxy:
        url = f"https://{HOST}:{proxy.port}"
        return await look_at_certificate(Place("publicUrl", url), trusting)


def issued(ca: trustme.CA, *names: str, days: int = 100) -> ssl.SSLContext:
    now = datetime.now(UTC)
    since, until = now - timedelta(days=300), now + timedelta(days=days)
    return server_context(ca.issue_cert(*names, not_before=since, not_after=until))


def test_a_certificate_that_is_believed_is_valid_for_so_many_days(ca: trustme.CA) -> None:
    async def case() -> None:
        finding = await shown(issued(ca, HOST), network(ca))
        assert finding.status == "ok"
        assert finding.found in {"valid for 99 days", "valid for 100 days"}

    run(case())


def test_one_that_is_about_to_expire_is_yellow_and_says_how_to_renew_it(ca: trustme.CA) -> None:
    async def case() -> None:
        finding = await shown(issued(ca, HOST, days=5), network(ca))
        assert (finding.status, finding.found) == ("warn", "valid, and expires in 4 days")
        assert "certbot renew" in (finding.remedy or "")

    run(case())


def test_what_carriers_would_refuse_is_red_and_says_why(ca: trustme.CA) -> None:
    async def case() -> None:
        expired = await shown(issued(ca, HOST, days=-1), network(ca))
        assert expired.found == "the certificate of localhost has expired"
        other = await shown(issued(ca, "other.example.com"), network(ca))
        assert other.found == "the certificate of localhost is made for other names"
        assert "-d localhost" in (other.remedy or "")
        stranger = await shown(issued(trustme.CA(), HOST), network(ca))
        assert "issued by an authority of one's own" in stranger.found or "chain" in str(
            stranger.remedy
        )
        assert {each.status for each in (expired, other, stranger)} == {"fail"}

    run(case())


def test_a_certificate_that_vouches_for_itself_is_red() -> None:
    async def case() -> None:
        # An authority's own certificate, shown as if it were a server's.
        own = trustme.CA()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        pem = own.cert_pem.bytes() + own.private_key_pem.bytes()
        with trustme.Blob(pem).tempfile() as path:
            context.load_cert_chain(path)
        finding = await shown(context, network())
        assert finding.found == "the certificate of localhost is self-signed"

    run(case())


def test_a_port_without_tls_is_red_and_one_where_nobody_listens_is_told() -> None:
    async def case() -> None:
        plain = await shown(None, network())
        assert plain.status == "fail"
        assert "does not speak TLS" in plain.found
        place = Place("publicUrl", f"https://{HOST}:{free_port()}")
        with pytest.raises(RemoteError, match="no connection to localhost"):
            await look_at_certificate(place, network())

    run(case())
