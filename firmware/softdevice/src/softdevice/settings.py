"""Defaults of the command line from the environment: SOFTDEVICE_SERVER and the like; options given win."""

from typing import Literal

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """Environment of `python -m softdevice`; every variable is optional."""

    model_config = SettingsConfigDict(env_prefix="SOFTDEVICE_", extra="ignore", allow_inf_nan=False)

    server: str = Field("coap://127.0.0.1:5683", description="LwM2M server, coap://host:port")
    directory: str = Field("softdevices", description="folder with one folder for each device")
    devices: int = Field(10, ge=1, le=100_000, description="number of devices in a fleet")
    name_prefix: str = Field("softdevice-", description="endpoint names are this and four digits")
    start_rate: float = Field(100.0, gt=0, description="devices of a fleet switched on per second")
    image: str | None = Field(None, description="signed image a new device leaves the factory with")
    key: str | None = Field(None, description="PEM file with the product's public key")
    lifetime: int = Field(300, ge=10, le=0xFFFFFFFF, description="lifetime of the registration, seconds")
    ack_timeout: float = Field(2.0, gt=0, le=60, description="CoAP ACK_TIMEOUT, seconds")
    report_seconds: float = Field(60.0, gt=0, description="time between changes of telemetry, seconds")
    patience_seconds: float = Field(60.0, gt=0, description="time one block is asked for before Result 4, seconds")
    block_size: int | None = Field(
        None, ge=16, le=1024, description="block size asked for, bytes; the profile's own when unset"
    )
    log_format: Literal["text", "json"] = Field("text", description="form of the log lines")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", description="least severe line shown")
