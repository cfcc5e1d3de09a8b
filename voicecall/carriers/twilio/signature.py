"""Twilio's signature: HMAC-SHA1 over the URL and the form's fields, on webhooks and upgrades.

Written against the vendor's own signer and compared with it in the tests; its verifier raises on
malformed input and drops the port of an address in brackets wrongly.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qs

from voicecall.errors import VerificationError
from voicecall.ports import VerifiedRequest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from voicecall.ports import WebhookRequest

SIGNATURE_HEADER: Final = "x-twilio-signature"
# Names a key of the account's own and an algorithm, where one is used instead of the auth token.
SETTINGS_HEADER: Final = "x-twilio-webhooks-signature-settings"
BODY_DIGEST_PARAMETER: Final = "bodySHA256"
FORM: Final = "application/x-www-form-urlencoded"

Fields = dict[str, list[str]]

# Callbacks have some forty fields.
_MAX_FIELDS = 256
_URL = re.compile(
    r"(?P<scheme>https?|wss?)://(?P<host>[^/?#]*?)(?::(?P<port>[0-9]{1,5}))?(?P<rest>[/?#].*)?",
    re.DOTALL,
)
_DEFAULT_PORTS = {"https": "443", "wss": "443", "http": "80", "ws": "80"}


class SignatureVerifier:
    """Proves that a request was signed with our token.

    Args:
        auth_token: the account's secret.

    Source: Twilio, "Webhooks security"; `twilio.request_validator` of the SDK 9.13.0.
    """

    def __init__(self, auth_token: str) -> None:
        self._key = auth_token.encode()

    def verify(self, request: WebhookRequest) -> VerifiedRequest:
        """Prove that a webhook comes from Twilio.

        The replay key is what was signed, without the port, so that one request keeps its key
        however its signature and URL are written.

        Raises:
            VerificationError: it does not; the message says why and repeats nothing of it.
        """
        if "HMAC_SHA256" in request.headers.get(SETTINGS_HEADER, "").upper():
            raise VerificationError("the request is signed with a shared key, and we have none")
        try:
            fields = _signed_fields(request)
        except ValueError:
            raise VerificationError("the request cannot be read as a signed form") from None
        signed = self._signed(request.url, fields, request.headers.get(SIGNATURE_HEADER, ""))
        return VerifiedRequest(request, replay_key=signed)

    def verify_upgrade(self, url: str, signature: str) -> None:
        """Prove that the upgrade request of a media socket comes from Twilio.

        Args:
            url: as Twilio was given it: `wss://`, the public host, the path.
            signature: the request's `x-twilio-signature`.

        Raises:
            VerificationError: it does not.
        """
        self._signed(url, {}, signature)

    def _signed(self, url: str, fields: Mapping[str, Sequence[str]], offered: str) -> str:
        """What was signed, in its canonical form. Raises VerificationError."""
        joined = "".join(
            name + value for name in sorted(fields) for value in sorted(set(fields[name]))
        )
        candidates = [variant + joined for variant in _variants(url)]
        given = offered.encode("utf-8", "surrogatepass")
        # Each is compared, so that the time taken does not tell which one was close.
        matches = [hmac.compare_digest(self._signature(each), given) for each in candidates]
        if not any(matches):
            raise VerificationError("the signature does not belong to this URL and body")
        return candidates[0]

    def _signature(self, signed: str) -> bytes:
        octets = signed.encode("utf-8", "surrogatepass")
        return base64.b64encode(hmac.digest(self._key, octets, "sha1"))


def form_fields(request: WebhookRequest) -> Fields:
    """The fields of the form in a request's body, all values of each; none without a form.

    Raises:
        ValueError: the body is not text, or has too many fields.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != FORM:
        return {}
    body = request.body.decode("utf-8")
    return parse_qs(body, keep_blank_values=True, max_num_fields=_MAX_FIELDS, errors="strict")


def query_of(url: str) -> Fields:
    """The parameters in a URL's query, all values of each. Raises ValueError for too many."""
    query = url.partition("#")[0].partition("?")[2]
    return parse_qs(query, keep_blank_values=True, max_num_fields=_MAX_FIELDS)


def _signed_fields(request: WebhookRequest) -> Fields:
    """The fields that take part in the signature; a body that is no form is checked by digest.

    Raises:
        VerificationError: the body is covered by nothing.
        ValueError: it cannot be read.
    """
    fields = form_fields(request)
    if fields or not request.body:
        return fields
    digests = query_of(request.url).get(BODY_DIGEST_PARAMETER, [])
    actual = hashlib.sha256(request.body).hexdigest().encode()
    if len(digests) != 1 or not hmac.compare_digest(actual, digests[0].encode("utf-8", "replace")):
        raise VerificationError("the body is not the one that was signed")
    return {}


def _variants(url: str) -> tuple[str, ...]:
    """The URL without its port and with it: which one Twilio signs is not consistent."""
    match = _URL.fullmatch(url)
    if match is None:
        raise VerificationError("the request's URL cannot be a signed one")
    scheme, host, rest = match["scheme"], match["host"], match["rest"] or ""
    port = match["port"] or _DEFAULT_PORTS[scheme]
    return f"{scheme}://{host}{rest}", f"{scheme}://{host}:{port}{rest}"
