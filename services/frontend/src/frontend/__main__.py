"""Starts the console: `python -m frontend`."""

import uvicorn

from frontend.app import create_app
from frontend.settings import FrontendSettings
from servicekit import configure, load

SHUTDOWN_SECONDS = 3  # open event streams never end by themselves


def main() -> None:
    """Serve until told to stop."""
    settings = load(FrontendSettings)
    configure(settings.log_level)
    uvicorn.run(
        create_app(settings),
        host=settings.host,
        port=settings.port,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=SHUTDOWN_SECONDS,
    )


if __name__ == "__main__":
    main()
