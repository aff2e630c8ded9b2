"""Asking CoAP servers: messages and blocks, for both faces of the proxy."""
