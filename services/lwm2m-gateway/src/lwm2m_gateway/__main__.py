"""`python -m lwm2m_gateway`: the gateway as a process; settings come from the environment."""

import argparse
import asyncio

import servicekit
from lwm2m_gateway.bootstrap import run
from lwm2m_gateway.settings import GatewaySettings


def main() -> None:
    """Read settings, set up logs, run."""
    argparse.ArgumentParser(
        prog="python -m lwm2m_gateway",
        description="LwM2M registrations and firmware updates, driven by an update manager over DDI. "
        "Settings are environment variables LWM2M_GATEWAY_*, listed in docs/configuration.md.",
    ).parse_args()
    settings = servicekit.load(GatewaySettings)
    servicekit.configure(settings.log_level)
    asyncio.run(run(settings))


if __name__ == "__main__":
    main()
