"""`python -m coap_http_proxy`: the proxy as a process; settings come from options and the environment."""

import asyncio
from collections.abc import Sequence

import servicekit
from coap_http_proxy import bootstrap, cli, workers


def main(arguments: Sequence[str] | None = None) -> None:
    """Read settings, set up logs, run; status 2 when something about them is wrong."""
    settings = cli.settings_from(arguments)
    cli.require_usable(settings)
    servicekit.configure(settings.log_level)
    run = workers.run if settings.workers > 1 else bootstrap.run
    asyncio.run(run(settings))


if __name__ == "__main__":
    main()
