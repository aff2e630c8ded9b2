"""The device API: hawkBit's DDI, version 1."""

from update_manager.entrypoints.ddi.routes import router

__all__ = ["router"]
