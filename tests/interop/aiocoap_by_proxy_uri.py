"""`python aiocoap_by_proxy_uri.py PROXY URI`: one GET by aiocoap with Proxy-Uri, the body onto standard output."""

import asyncio
import sys

import aiocoap


async def fetch(proxy: str, uri: str) -> int:
    """The body goes to standard output; a refusal is told on standard error, and 1 returned."""
    context = await aiocoap.Context.create_client_context()
    try:
        request = aiocoap.Message(code=aiocoap.GET, uri=proxy)
        request.opt.proxy_uri = uri
        answer = await asyncio.wait_for(context.request(request).response, 30)
    finally:
        await context.shutdown()
    sys.stdout.buffer.write(answer.payload if answer.code.is_successful() else b"")
    sys.stderr.write(f"{answer.code}\n")
    return 0 if answer.code.is_successful() else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(fetch(sys.argv[1], sys.argv[2])))
