"""Settings of the proxy; nothing upstream is allowed unless it is named."""

import secrets
from pathlib import Path

from pydantic import AliasChoices, Field, SecretStr, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from coap_http_proxy.mapping.addresses import parse_networks
from coap_http_proxy.mapping.reverse import parse_routes
from coap_http_proxy.mapping.uris import Base, parse_authorities, parse_base, parse_bases


class ProxySettings(BaseSettings):
    """Read from environment variables with the prefix `COAP_HTTP_PROXY_`."""

    model_config = SettingsConfigDict(env_prefix="COAP_HTTP_PROXY_", populate_by_name=True)

    redis_url: SecretStr = Field(
        SecretStr("redis://127.0.0.1:6379/0"),
        validation_alias=AliasChoices("REDIS_URL", "redis_url"),
        description="Redis or a compatible server, for tickets and progress; empty: neither, the rest works",
    )
    log_level: str = Field(
        "INFO", validation_alias=AliasChoices("LOG_LEVEL", "log_level"), description="DEBUG, INFO, WARNING or ERROR"
    )
    host: str = Field("127.0.0.1", description="Address of the HTTP face (health, statistics, metrics)")
    port: int = Field(8082, ge=1, le=65535, description="Port of the HTTP face")
    coap_host: str = Field("127.0.0.1", description="Address devices reach over UDP")
    coap_port: int = Field(5685, ge=1, le=65535, description="UDP port of the CoAP face")
    dtls_port: int = Field(0, ge=0, le=65535, description="UDP port of CoAP over DTLS (coaps); 0: none")
    psk_file: Path | None = Field(
        None,
        description="File of DTLS keys, lines of `identity key-in-hex [controller]`, besides those in Redis; refused "
        "when every user of the host can read it",
    )
    upstream_psk_file: Path | None = Field(
        None,
        description="File of the proxy's own keys for coaps upstreams, lines of `host:port identity key-in-hex`; "
        "refused when every user of the host can read it",
    )
    dtls_sessions: int = Field(10_000, ge=1, description="DTLS sessions at once, some 2 KiB each")
    dtls_idle_seconds: float = Field(3600.0, gt=0, description="How long a DTLS session may be silent")
    cache_directory: Path = Field(Path("data/blocks"), description="Folder of verified artifacts")
    cache_bytes: int = Field(2 << 30, ge=1 << 20, description="Artifacts kept on disk, bytes")
    allowed_upstreams: str = Field("", description="Base URLs that may be asked, comma-separated; empty: none")
    known_as: str = Field(
        "",
        description="Names or addresses by which devices know this proxy, `host:port`, comma-separated: a coap URI of "
        "one of them is answered here and not asked for",
    )
    reverse: str = Field(
        "",
        description="Paths of ours that stand for upstreams, comma-separated `/prefix=base-url`; the base is thereby "
        "allowed as an upstream",
    )
    private_upstreams: str = Field(
        "",
        description="Networks that names of upstreams may lead to besides public addresses, comma-separated, such as "
        "10.0.0.0/8; an address that is itself written into allowed_upstreams may be reached anyway",
    )
    credentials_file: Path | None = Field(
        None,
        description='JSON file of headers by upstream, `{"base-url": {"Authorization": "..."}}`, which the proxy shows '
        "to that upstream alone; refused when every user of the host can read it",
    )
    gateway_token: SecretStr | None = Field(
        None,
        description="Sent as GatewayToken to the update manager for what a ticket names; never to anybody else, never "
        "for a Proxy-Uri",
    )
    gateway_token_base: str = Field(
        "",
        description="Base URL of the update manager's device API, the only one the gateway token is sent to; empty: "
        "the first of allowed_upstreams",
    )
    max_artifact_bytes: int = Field(64 << 20, ge=1, description="Largest artifact fetched, bytes")
    max_representation_bytes: int = Field(
        16 << 20, ge=1, description="Largest answer passed on by URI, and largest request in blocks, bytes"
    )
    representation_memory_bytes: int = Field(64 << 20, ge=0, description="Answers by URI kept in memory, bytes")
    representation_disk_bytes: int = Field(256 << 20, ge=0, description="Answers by URI kept on disk, bytes")
    arriving_bytes: int = Field(
        512 << 20, ge=1, description="Requests in blocks and answers by URI still arriving, all together, bytes"
    )
    upstream_timeout_seconds: float = Field(
        90.0, gt=0, description="Longest time one artifact or answer may take to arrive"
    )
    ack_delay_seconds: float = Field(0.5, gt=0, description="How long an answer may take before an empty ACK is sent")
    max_exchanges: int = Field(4096, ge=1, description="Requests waiting for an upstream at once")
    max_exchanges_per_address: int = Field(
        64, ge=1, description="Requests without a ticket that one address may have waiting at once"
    )
    trusted_networks: str = Field(
        "127.0.0.0/8",
        description="Networks whose addresses nobody can forge here, comma-separated: they get large answers at once, "
        "at any pace",
    )
    address_requests_per_second: float = Field(
        200.0, gt=0, description="Requests without a ticket that one address may make, after twice as many at once"
    )
    address_bytes_per_second: float = Field(
        128 << 10, gt=0, description="Bytes one address gets without a ticket, after twice as many at once"
    )
    ticket_bytes_per_second: float = Field(
        8 << 20, gt=0, description="Bytes one ticket gets, after twice as many at once; more come later"
    )
    echo_secret: SecretStr | None = Field(
        None,
        min_length=16,
        validate_default=True,
        description="Key of the Echo values by which senders prove their address; unset: drawn anew at each start",
    )
    report_seconds: float = Field(1.0, gt=0, description="How often progress is reported")
    workers: int = Field(1, ge=1, le=64, description="Processes that serve the CoAP port together")
    compiled: bool = Field(True, description="Use the compiled fast path where it was built; false: pure Python")
    http_to_coap_host: str = Field("127.0.0.1", description="Address of the HTTP-to-CoAP face (RFC 8075)")
    http_to_coap_port: int = Field(
        0, ge=0, le=65535, description="Port of the HTTP-to-CoAP face, which asks the coap:// upstreams; 0: none"
    )
    http_to_coap_max_bytes: int = Field(4 << 20, ge=1, description="Largest body of a request to a device, bytes")
    http_to_coap_timeout_seconds: float = Field(
        60.0, gt=0, description="Longest wait for one answer of a device, its turn included"
    )

    @property
    def bases(self) -> tuple[Base, ...]:
        """The whole allow-list: upstreams by name, and those behind paths of ours."""
        return (*parse_bases(self.allowed_upstreams), *(route.base for route in parse_routes(self.reverse)))

    @property
    def gateway_base(self) -> Base | None:
        """The upstream that the gateway token is meant for."""
        return next(iter(parse_bases(self.gateway_token_base or self.allowed_upstreams)), None)

    @field_validator("redis_url")
    @classmethod
    def _redis(cls, url: SecretStr) -> SecretStr:
        # The URL holds a password: it is not repeated.
        if not url.get_secret_value().startswith(("redis://", "rediss://", "unix://")) and url.get_secret_value():
            raise ValueError("a Redis URL begins with redis://, rediss:// or unix://; empty: without Redis")
        return url

    @field_validator("log_level")
    @classmethod
    def _level(cls, text: str) -> str:
        if text.upper() not in ("DEBUG", "INFO", "WARNING", "ERROR"):
            raise ValueError(f"{text!r} is no level: DEBUG, INFO, WARNING or ERROR")
        return text.upper()

    @field_validator("echo_secret")
    @classmethod
    def _drawn(cls, secret: SecretStr | None) -> SecretStr:
        # Here and not where it is used: all workers get these settings, and know each other's values.
        return secret or SecretStr(secrets.token_hex(32))

    @field_validator("private_upstreams", "trusted_networks")
    @classmethod
    def _networks(cls, text: str) -> str:
        parse_networks(text)
        return text

    @field_validator("allowed_upstreams")
    @classmethod
    def _bases(cls, text: str) -> str:
        parse_bases(text)
        return text

    @field_validator("gateway_token_base")
    @classmethod
    def _base(cls, text: str, others: ValidationInfo) -> str:
        named = parse_bases(others.data.get("allowed_upstreams", ""))
        if text and parse_base(text) not in named:
            raise ValueError("not one of allowed_upstreams")
        return text

    @field_validator("known_as")
    @classmethod
    def _authorities(cls, text: str) -> str:
        parse_authorities(text)
        return text

    @field_validator("reverse")
    @classmethod
    def _routes(cls, text: str) -> str:
        parse_routes(text)
        return text
