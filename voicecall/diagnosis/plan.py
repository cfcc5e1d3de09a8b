"""Which checks a configuration calls for, and which of them need which."""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Final, Self

from voicecall.clock import SystemClock
from voicecall.diagnosis import address, passage
from voicecall.diagnosis.address import Place, is_here
from voicecall.diagnosis.certificate import look_at_certificate
from voicecall.diagnosis.check import Check, fail, ok, skipped
from voicecall.diagnosis.engines import look_at_engines
from voicecall.diagnosis.host import Host
from voicecall.diagnosis.machine import look_at_descriptors, look_at_state, look_at_token
from voicecall.diagnosis.network import Network
from voicecall.diagnosis.packages import look_at_packages
from voicecall.diagnosis.passage import Doors, stream_url, webhook_url
from voicecall.diagnosis.ports import look_at_ports
from voicecall.diagnosis.services import services
from voicecall.diagnosis.settings import (
    look_at_configuration,
    look_at_exposure,
    look_at_inbound,
)
from voicecall.diagnosis.skew import look_at_clock
from voicecall.diagnosis.storage import look_at_store
from voicecall.diagnosis.vendors.carrier import Question, api_base_url, questions
from voicecall.diagnosis.vendors.deepgram import look_at_deepgram
from voicecall.diagnosis.vendors.elevenlabs import look_at_elevenlabs
from voicecall.diagnosis.vendors.openai import look_at_openai
from voicecall.errors import CarrierError, ConfigError
from voicecall.exposure import plan as exposure

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

    from voicecall.clock import Clock
    from voicecall.config.load import LoadedConfig
    from voicecall.config.schema import Config
    from voicecall.diagnosis.check import Finding, Look
    from voicecall.diagnosis.services import Service
    from voicecall.diagnosis.vendors.carrier import CarrierQuestions

# A tunnel may take that long to open, models to load from a slow disk.
_START_S: Final = 45.0
_LOADING_S: Final = 60.0
# SDKs load first, which takes seconds on a slow disk.
_VENDOR_S: Final = 25.0

CARRIER: Final = "carrier credentials"
SERVER: Final = "server"
PUBLIC: Final = "public url"


@dataclass(slots=True)
class Subject:
    """What is looked at; an async context manager that ends what the checks have opened.

    Attributes:
        loaded: the configuration.
        network: how the network is used.
        clock: the time.
    """

    loaded: LoadedConfig
    network: Network = field(default_factory=Network)
    clock: Clock = field(default_factory=SystemClock)
    _ending: AsyncExitStack = field(init=False, default_factory=AsyncExitStack)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._ending.aclose()

    def checks(self) -> list[Check]:
        """All that the configuration calls for; each after those that it needs."""
        host = Host(self.loaded)
        self._ending.push_async_callback(host.close)
        config = self.loaded.config
        carrier = None
        asking = questions(config, self.clock, self.network.timeout_s)
        if asking is not None:
            self._ending.push_async_callback(asking.close)
            carrier = _Carrier(config, asking, self.clock, self.network)
        site = _Site(self.loaded, host, self.network, rehearsal=self._rehearsal)
        return [
            *self._local_checks(host),
            *(carrier.checks() if carrier else ()),
            *self._service_checks(),
            *self._server_checks(host, after=(CARRIER,) if carrier else ()),
            *site.checks(),
        ]

    @property
    def _rehearsal(self) -> bool:
        """Whether the carrier is a simulated one on this machine."""
        return is_here(api_base_url(self.loaded.config))

    def _local_checks(self, host: Host) -> Iterator[Check]:
        loaded, config = self.loaded, self.loaded.config
        directory = loaded.state_directory
        yield Check("configuration", partial(look_at_configuration, loaded))
        yield Check("packages", partial(look_at_packages, config))
        yield Check("state directory", partial(look_at_state, directory))
        yield Check(
            "rpc token", partial(look_at_token, config, directory), remedy="see the file named here"
        )
        yield Check(
            "store",
            partial(look_at_store, config.store),
            remedy="set store to a file that can be written, or see that its server runs",
        )
        yield Check("open files", partial(look_at_descriptors, config))
        yield Check("network exposure", partial(look_at_exposure, config))
        yield Check("inbound calls", partial(look_at_inbound, config))

        async def ports() -> Finding:
            return await look_at_ports(config, running=await host.runs())

        yield Check(
            "ports",
            ports,
            remedy="stop the server that runs there, or start it with this configuration: "
            "voicecall serve",
        )

    def _service_checks(self) -> Iterator[Check]:
        names: dict[str, int] = {}
        for service in services(self.loaded.config):
            if service.account is None:
                continue
            count = names[service.name] = names.get(service.name, 0) + 1
            name = service.name if count == 1 else f"{service.name} {count}"
            yield Check(
                name,
                self._question(service),
                needs=("packages",),
                remedy="check the network, and where the service is (baseUrl)",
                deadline_s=_VENDOR_S,
            )

    def _question(self, service: Service) -> Look:
        match service.name:
            case "openai":
                return partial(look_at_openai, service, self.network.timeout_s)
            case "deepgram":
                return partial(look_at_deepgram, service, self.network)
            case "elevenlabs":
                return partial(look_at_elevenlabs, service, self.network)
            case "local":
                raise ValueError("local engines have no account")

    def _server_checks(self, host: Host, after: tuple[str, ...]) -> Iterator[Check]:
        config = self.loaded.config
        yield Check(
            SERVER,
            host.look,
            needs=("configuration", "packages", "ports"),
            after=after,
            remedy="mend the setting that is named here",
            deadline_s=_START_S,
        )
        yield Check(
            "engines",
            partial(look_at_engines, config, host, self.clock),
            needs=("packages", "ports"),
            after=(SERVER,),
            remedy="install what is missing, or choose another stt.provider or tts.provider",
            deadline_s=_LOADING_S,
        )


class _Carrier:
    """What the carrier is asked.

    Args:
        config: complete configuration.
        asking: asks.
        clock: the time.
        network: how the network is used.
    """

    def __init__(
        self, config: Config, asking: CarrierQuestions, clock: Clock, network: Network
    ) -> None:
        self._config = config
        self._asking = asking
        self._clock = clock
        self._network = network

    def checks(self) -> Iterator[Check]:
        """Credentials, number, clock."""
        asking = self._asking
        yield Check(
            CARRIER,
            self._credentials,
            needs=("packages",),
            remedy=asking.remedy,
            deadline_s=_VENDOR_S,
        )
        yield Check(
            "from number",
            self._number,
            needs=(CARRIER,),
            remedy="see whether the credentials may look numbers up",
            deadline_s=_VENDOR_S,
        )
        yield Check(
            "clock",
            partial(look_at_clock, asking.api_url, self._network, self._clock),
            remedy="see whether this machine reaches the internet",
        )

    async def _credentials(self) -> Finding:
        try:
            return await self._asking.credentials()
        except CarrierError as error:
            if error.status is not None or not error.retryable:
                raise
            # Nobody was there to judge them.
            remedy = f"see whether it is reached from here: curl -i {self._asking.api_url}"
            return fail(str(error), remedy)

    async def _number(self) -> Finding:
        config = self._config
        if config.from_number is None:
            return fail("fromNumber is not set", "set fromNumber to a number of the account")
        takes_calls = config.inbound_policy != "disabled" and config.public_url is not None
        url = webhook_url(config.public_url or "", config.serve.path) if takes_calls else None
        return await self._asking.number(Question(config.from_number, url))


class _Site:
    """The public URLs, and whether they lead to the server.

    Args:
        loaded: the configuration.
        host: the server.
        network: how the network is used.
        rehearsal: whether the carrier is a simulated one on this machine.
    """

    def __init__(
        self, loaded: LoadedConfig, host: Host, network: Network, *, rehearsal: bool
    ) -> None:
        self._config = loaded.config
        self._host = host
        self._network = network
        self._rehearsal = rehearsal
        self._public: str | None = loaded.config.public_url

    def checks(self) -> Iterator[Check]:
        """From the URL's form to a webhook and a media socket that arrive."""
        config = self._config
        if config.provider == "mock" and config.public_url is None and not self._tunnelled:
            yield Check(PUBLIC, _not_needed)
            return
        # What a tunnel is called is known once it is open.
        opened = (SERVER,) if self._tunnelled else ()
        yield Check(PUBLIC, self._form, needs=opened, remedy="set publicUrl, or a tunnel.provider")
        if config.public_url is None and not self._tunnelled:
            return
        yield from self._way("", (SERVER, PUBLIC) if self._tunnelled else ())
        needs = (SERVER, "dns", "tls")
        yield Check("reaches this server", self._identity, needs=needs)
        yield Check("webhook", self._webhook, needs=("reaches this server",))
        if not config.streaming.enabled:
            return
        way: tuple[str, ...] = ("reaches this server",)
        if config.streaming.public_url is not None:
            yield Check("stream url", self._stream_form)
            yield from self._way("stream ", ())
            way = (SERVER, "stream dns", "stream tls")
        yield Check("media socket", self._upgrade, needs=way)

    @property
    def _tunnelled(self) -> bool:
        return self._config.public_url is None and exposure.is_wanted(self._config)

    def _way(self, whose: str, needs: tuple[str, ...]) -> Iterator[Check]:
        place = self._stream_place if whose else self._place

        async def name() -> Finding:
            return await address.look_at_name(place(), self._network.resolve)

        async def certificate() -> Finding:
            if not place().encrypted:
                return ok("not encrypted, so there is none")
            return await look_at_certificate(place(), self._network)

        host = "streaming.publicUrl" if whose else "publicUrl"
        yield Check(
            f"{whose}dns",
            name,
            needs=needs,
            remedy=f"check the host in {host}, and its DNS records",
        )
        yield Check(
            f"{whose}tls",
            certificate,
            needs=(*needs, f"{whose}dns"),
            remedy="open the port in the firewall, forward it here, and have a proxy listen there",
        )

    # --- the checks ----------------------------------------------------------------------------

    async def _form(self) -> Finding:
        if self._tunnelled:
            self._public = await self._host.public_url()
        if self._public is None:
            return fail(
                f"there is none, and {self._config.provider} reports calls to one",
                'set publicUrl to what leads here from outside, or tunnel.provider to "ngrok"',
            )
        streams = self._config.streaming.enabled and self._config.streaming.public_url is None
        return address.look_at_form(self._place(), streams=streams)

    async def _stream_form(self) -> Finding:
        return address.look_at_form(self._stream_place(), streams=True)

    async def _identity(self) -> Finding:
        return await passage.look_at_identity(self._doors(), self._host, self._network)

    async def _webhook(self) -> Finding:
        config = self._config
        if config.provider == "mock":
            return skipped("the mock carrier does not sign webhooks")
        verified = not config.skip_signature_verification
        return await passage.look_at_webhook(self._doors(), self._network, verified=verified)

    async def _upgrade(self) -> Finding:
        return await passage.look_at_upgrade(self._doors(), self._host, self._network)

    def _place(self) -> Place:
        if self._public is None:
            raise ConfigError("publicUrl: is not set")
        return Place("publicUrl", self._public, self._rehearsal)

    def _stream_place(self) -> Place:
        url = self._config.streaming.public_url or self._place().url
        return Place("streaming.publicUrl", url, self._rehearsal)

    def _doors(self) -> Doors:
        config, public = self._config, self._place().url
        return Doors(
            webhook=webhook_url(public, config.serve.path),
            stream=stream_url(self._stream_place().url, config.streaming.stream_path),
            control=self._host.control_url,
            media=self._host.media_url(),
        )


async def _not_needed() -> Finding:
    return skipped("the mock carrier needs none")
