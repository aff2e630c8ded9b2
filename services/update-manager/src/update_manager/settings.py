"""Settings of the update manager; every one has a safe default and a unit, secrets have no default."""

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, AliasChoices, Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


class UpdateManagerSettings(BaseSettings):
    """Read from environment variables with the prefix `UPDATE_MANAGER_`."""

    model_config = SettingsConfigDict(env_prefix="UPDATE_MANAGER_", populate_by_name=True)

    database_url: SecretStr = Field(
        validation_alias=AliasChoices("DATABASE_URL", "database_url"),
        description="PostgreSQL: postgresql://user:password@host:port/name",
    )
    redis_url: SecretStr = Field(
        SecretStr("redis://127.0.0.1:6379/0"),
        validation_alias=AliasChoices("REDIS_URL", "redis_url"),
        description="Redis or a compatible server, for queues, hints and uplink events",
    )
    log_level: str = Field(
        "INFO",
        validation_alias=AliasChoices("LOG_LEVEL", "log_level"),
        description="DEBUG, INFO, WARNING or ERROR",
    )
    host: str = Field("127.0.0.1", description="Address the HTTP API listens on")
    port: int = Field(8080, ge=1, le=65535, description="Port the HTTP API listens on")
    # hawkBit's tenant names know no case; they are kept in capitals.
    tenant: Annotated[str, AfterValidator(str.upper)] = Field("DEFAULT", description="Name of the tenant in DDI paths")
    artifact_directory: Path = Field(
        Path("data/artifacts"), description="Folder of the content-addressed artifact store"
    )
    gateway_token: SecretStr | None = Field(
        None,
        description="Secret the gateway and the proxy present (Authorization: GatewayToken ...); unset: refused",
    )
    poll_interval_seconds: int = Field(
        300, ge=1, le=86400, description="How often DDI devices are told to poll, seconds"
    )
    session_lifetime_seconds: int = Field(43200, ge=60, description="How long a browser session lives, seconds")
    max_artifact_bytes: int = Field(64 * 1024 * 1024, ge=1, description="Largest artifact accepted, bytes")
    delta_threshold_percent: int = Field(
        50, ge=0, le=100, description="Largest delta that is offered, percent of the full image; 0: no deltas"
    )
    max_deltas_per_release: int = Field(
        20, ge=1, le=1000, description="Deltas kept for one release, counting those being made"
    )
    delta_unused_days: int = Field(30, ge=1, description="How long a delta nobody asks for is kept, days")
    max_delta_image_bytes: int = Field(
        4 * 1024 * 1024, ge=1, description="Largest image deltas are made of, bytes; making one takes 20 times that"
    )
    delta_build_seconds: float = Field(60.0, gt=0, description="Longest time one delta may take to be made, seconds")
    engine_tick_seconds: float = Field(1.0, gt=0, description="How often beat rings for due rollout steps, seconds")
    step_batch_size: int = Field(
        1000, ge=1, le=20000, description="Targets or actions per transaction of a rollout step"
    )
    database_pool_size: int = Field(10, ge=1, description="Connections kept per process")
