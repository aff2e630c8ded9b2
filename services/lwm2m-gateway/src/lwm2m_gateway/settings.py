"""Settings of the gateway."""

from pydantic import AliasChoices, Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


class GatewaySettings(BaseSettings):
    """Read from environment variables with the prefix `LWM2M_GATEWAY_`."""

    model_config = SettingsConfigDict(env_prefix="LWM2M_GATEWAY_", populate_by_name=True)

    redis_url: SecretStr = Field(
        SecretStr("redis://127.0.0.1:6379/0"),
        validation_alias=AliasChoices("REDIS_URL", "redis_url"),
        description="Redis or a compatible server, for registrations, journeys, hints, tickets and uplink events",
    )
    log_level: str = Field(
        "INFO", validation_alias=AliasChoices("LOG_LEVEL", "log_level"), description="DEBUG, INFO, WARNING or ERROR"
    )
    host: str = Field("127.0.0.1", description="Address of the HTTP face (health, statistics)")
    port: int = Field(8081, ge=1, le=65535, description="Port of the HTTP face")
    coap_host: str = Field("127.0.0.1", description="Address devices reach over UDP")
    coap_port: int = Field(5683, ge=1, le=65535, description="UDP port of the LwM2M face")
    tenant: str = Field("DEFAULT", description="Tenant in DDI paths")
    ddi_url: str = Field("http://127.0.0.1:8080", description="Base URL of the update manager (or any hawkBit)")
    gateway_token: SecretStr = Field(description="Secret for the device API (GatewayToken)")
    proxy_uri: str = Field("coap://127.0.0.1:5685", description="Address of the block server as devices reach it")
    awake_seconds: float = Field(93.0, ge=0, description="How long a queue-mode device listens after it spoke")
    settle_seconds: float = Field(0.5, ge=0, description="Pause after a Register before the first request")
    request_seconds: float = Field(60.0, gt=0, description="Longest wait for one answer of a device")
    soak_seconds: float = Field(60.0, ge=0, description="How long a new version must stay before it is believed")
    silence_seconds: float = Field(
        3600.0, gt=0, description="Longest silence of a device during an update; a sleeper has its lifetime"
    )
    reboot_seconds: float = Field(900.0, gt=0, description="Longest time from Execute to the next registration")
    ask_again_seconds: float = Field(30.0, gt=0, description="How often a device is asked when it does not notify")
    delta_wait_seconds: float = Field(
        20.0, ge=0, le=3600, description="How long a delta that is being built is waited for; 0: no deltas are offered"
    )
    sweep_seconds: float = Field(
        300.0, gt=0, description="How often every registered device is polled for without hint"
    )
    ticket_seconds: int = Field(86400, ge=60, description="Lifetime of a download ticket")
    observe: str = Field("/3/0/9", description="Resources observed on every device, comma-separated paths")
