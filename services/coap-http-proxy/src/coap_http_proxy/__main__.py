"""`python -m coap_http_proxy`: the proxy as a process; settings come from the environment."""

import argparse
import asyncio

import servicekit
from coap_http_proxy.bootstrap import run
from coap_http_proxy.settings import ProxySettings


def main() -> None:
    """Read settings, set up logs, run."""
    argparse.ArgumentParser(
        prog="python -m coap_http_proxy",
        description="Serves firmware blocks over CoAP from HTTP upstreams. "
        "Settings are environment variables COAP_HTTP_PROXY_*, listed in docs/configuration.md.",
    ).parse_args()
    settings = servicekit.load(ProxySettings)
    servicekit.configure(settings.log_level)
    asyncio.run(run(settings))


if __name__ == "__main__":
    main()
