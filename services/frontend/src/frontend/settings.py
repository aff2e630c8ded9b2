"""What the console's environment decides: where it listens, whom it asks, how long it waits."""

from pydantic import AliasChoices, Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class FrontendSettings(BaseSettings):
    """Read from `FRONTEND_*`; every default is safe on one machine."""

    model_config = SettingsConfigDict(env_prefix="FRONTEND_", populate_by_name=True)

    host: str = Field(default="127.0.0.1", description="Address to listen on.")
    port: int = Field(default=8000, ge=0, le=65535, description="TCP port to listen on.")
    update_manager_url: str = Field(default="http://127.0.0.1:8080", description="Base URL of the update manager.")
    request_timeout_seconds: float = Field(default=15.0, gt=0, description="Longest wait for an answer.")
    upload_timeout_seconds: float = Field(default=300.0, gt=0, description="Longest wait while an image is handed on.")
    max_upload_bytes: int = Field(default=64 * 1024 * 1024, gt=0, description="Largest image the upload form takes.")
    max_form_bytes: int = Field(default=256 * 1024, gt=0, description="Largest body of any request but that upload.")
    log_level: str = Field(
        default="INFO",
        validation_alias=AliasChoices("FRONTEND_LOG_LEVEL", "LOG_LEVEL"),
        description="DEBUG, INFO, WARNING or ERROR.",
    )
