from __future__ import annotations

import pytest

from tests.control.fakes import BEARER, TOKEN, run, services, serving

pytestmark = pytest.mark.socket


@pytest.mark.parametrize("method_path", ["POST /rpc", "GET /events"])
@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": TOKEN},
        {"Authorization": "Bearer"},
        {"Authorization": f"Bearer {TOKEN}x"},
        {"Authorization": f"Basic {TOKEN}"},
        {b"Authorization": "Bearer é".encode()},
    ],
)
def test_rpc_and_events_need_the_token(method_path: str, headers: dict[str, str]) -> None:
    async def case() -> None:
        async with serving(services()) as served:
            method, path = method_path.split()
            answer = await served.http.request(method, path, headers=headers)
            assert answer.status_code == 401
            assert answer.headers["www-authenticate"] == "Bearer"

    run(case)


def test_the_scheme_of_the_token_may_be_written_in_any_case() -> None:
    async def case() -> None:
        async with serving(services()) as served:
            headers = {"Authorization": f"bearer {TOKEN}"}
            answer = await served.http.post("/rpc", content=b"{}", headers=headers)
            assert answer.status_code == 200

    run(case)


def test_a_token_may_have_letters_that_are_not_of_ascii() -> None:
    # The last letter ends with an octet that is a space to Latin-1.
    token = "clé voilà"

    async def case() -> None:
        async with serving(services(rpc_token=token)) as served:
            headers = {b"Authorization": f"Bearer {token}".encode()}
            answer = await served.http.post("/rpc", content=b"{}", headers=headers)
            assert answer.status_code == 200

    run(case)


def test_an_empty_token_is_refused_when_the_app_is_made() -> None:
    async def case() -> None:
        with pytest.raises(ValueError, match="empty"):
            async with serving(services(rpc_token="")):
                pass

    run(case)


def test_metrics_are_open_on_this_machine_but_not_to_what_a_tunnel_brings() -> None:
    async def case() -> None:
        async with serving(services()) as served:
            local = await served.http.get("/metrics")
            assert local.status_code == 200
            assert "voicecall_" in local.text
            assert local.headers["content-type"].startswith("text/plain; version=")
            relayed = {"X-Forwarded-For": "192.0.2.7"}
            assert (await served.http.get("/metrics", headers=relayed)).status_code == 401
            known = relayed | BEARER
            assert (await served.http.get("/metrics", headers=known)).status_code == 200

    run(case)
