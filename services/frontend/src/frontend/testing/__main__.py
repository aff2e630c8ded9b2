"""Serves the fake update manager: `python -m frontend.testing [port]`; sign in as operator / fleet-in-sight."""

import sys

import uvicorn

from frontend.testing.manager import FakeManager

if __name__ == "__main__":
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 8080
    uvicorn.run(FakeManager().app, port=port, log_level="warning", timeout_graceful_shutdown=1)
