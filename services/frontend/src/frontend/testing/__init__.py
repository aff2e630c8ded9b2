"""A shipped stand-in for the update manager: `FakeManager().app` in a test, or `python -m frontend.testing` to look."""

from frontend.testing.manager import PASSWORD, USERNAME, FakeManager

__all__ = ["PASSWORD", "USERNAME", "FakeManager"]
