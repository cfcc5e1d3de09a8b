"""Plivo's signatures on webhooks: V3 over everything that is sent, V2 over the URL alone.

Written against Plivo's own signer, `plivo.utils` of the SDK 4.63.0, and compared with it in the
tests; its verifier raises on malformed input and compares in variable time.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qs, urlparse

from voicecall.errors import VerificationError
from voicecall.ports import VerifiedRequest

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from voicecall.ports import WebhookRequest

V3_HEADER: Final = "x-plivo-signature-v3"
V3_NONCE_HEADER: Final = "x-plivo-signature-v3-nonce"
# Signed with the main account's token, where the call belongs to a subaccount.
V3_MAIN_HEADER: Final = "x-plivo-signature-ma-v3"
V2_HEADER: Final = "x-plivo-signature-v2"
V2_NONCE_HEADER: Final = "x-plivo-signature-v2-nonce"
V2_MAIN_HEADER: Final = "x-plivo-signature-ma-v2"

FORM: Final = "application/x-www-form-urlencoded"

# Callbacks have some thirty fields; a header names one signature for each valid token.
_MAX_FIELDS = 256
_MAX_SIGNATURES = 8

Fields = dict[str, list[str]]


class SignatureVerifier:
    """Proves that a webhook was signed with our token.

    Args:
        auth_token: the account's or subaccount's secret.
        allow_v2: whether a request without a V3 signature may prove itself by a V2 one. That one
            does not cover the body: who once saw such a request can send another body with it.
    """

    def __init__(self, auth_token: str, *, allow_v2: bool = False) -> None:
        self._key = auth_token.encode()
        self._allow_v2 = allow_v2

    @property
    def headers(self) -> Sequence[str]:
        """Headers without which no request can prove itself."""
        return () if self._allow_v2 else (V3_HEADER, V3_NONCE_HEADER)

    def verify(self, request: WebhookRequest) -> VerifiedRequest:
        """Prove that `request` comes from Plivo.

        The replay key is what was signed, nonce included, so that one request keeps its key
        however its signature is written.

        Raises:
            VerificationError: it does not; the message says why and holds no secret.
        """
        headers = request.headers
        if V3_HEADER in headers or V3_MAIN_HEADER in headers or not self._allow_v2:
            version, names, nonce = "v3", (V3_HEADER, V3_MAIN_HEADER), headers.get(V3_NONCE_HEADER)
        else:
            version, names, nonce = "v2", (V2_HEADER, V2_MAIN_HEADER), headers.get(V2_NONCE_HEADER)
        offered = _signatures(headers, names)
        if not nonce or not offered:
            raise VerificationError(f"the request has no Plivo {version} signature and nonce")
        signed = self._signed(version, request, nonce)
        if not self._matches(signed, offered):
            raise VerificationError(f"the Plivo {version} signature is not ours")
        return VerifiedRequest(request, replay_key=f"{version} {signed}")

    def _signed(self, version: str, request: WebhookRequest, nonce: str) -> str:
        try:
            if version == "v2":
                return f"{_address(request.url)}{nonce}"
            return f"{v3_base(request.method, request.url, form_fields(request))}.{nonce}"
        except ValueError as error:
            raise VerificationError("the request cannot be read as a signed form") from error

    def _matches(self, signed: str, offered: Iterable[str]) -> bool:
        digest = hmac.new(self._key, signed.encode("utf-8", "surrogatepass"), hashlib.sha256)
        expected = base64.b64encode(digest.digest())
        # Every signature is compared, so that the time taken does not tell which one was close.
        matches = [
            hmac.compare_digest(expected, each.encode("utf-8", "surrogatepass")) for each in offered
        ]
        return any(matches)


def v3_base(method: str, url: str, fields: Mapping[str, Sequence[str]]) -> str:
    """What a V3 signature covers, but for the nonce.

    Args:
        method: `GET` or `POST`, upper case.
        url: as Plivo called it, with its query.
        fields: those of the form in the body; all values of each.

    Raises:
        ValueError: the URL is none, or has too many parameters.

    Source: Plivo, "Validating requests"; `plivo.utils.signature_v3` of the SDK 4.63.0.
    """
    query = parse_qs(urlparse(url).query, keep_blank_values=True, max_num_fields=_MAX_FIELDS)
    pairs = "&".join(f"{key}={value}" for key, value in _sorted(query))
    address = _address(url)
    if method == "GET" or not fields:
        return f"{address}?{pairs}" if pairs else address
    joined = "".join(f"{key}{value}" for key, value in _sorted(fields))
    return f"{address}?{pairs}.{joined}" if pairs else f"{address}?{joined}"


def form_fields(request: WebhookRequest) -> Fields:
    """The fields of the form in a request's body; none where there is no form.

    Raises:
        ValueError: the body is not text, or has too many fields.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != FORM:
        return {}
    body = request.body.decode("utf-8")
    return parse_qs(body, keep_blank_values=True, max_num_fields=_MAX_FIELDS)


def _sorted(fields: Mapping[str, Sequence[str]]) -> Iterable[tuple[str, str]]:
    return ((key, value) for key in sorted(fields) for value in sorted(fields[key]))


def _address(url: str) -> str:
    parts = urlparse(url)
    return f"{parts.scheme}://{parts.netloc}{parts.path}"


def _signatures(headers: Mapping[str, str], names: Iterable[str]) -> list[str]:
    offered = [each.strip() for name in names for each in headers.get(name, "").split(",")]
    return [each for each in offered if each][:_MAX_SIGNATURES]
