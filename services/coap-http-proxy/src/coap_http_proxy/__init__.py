"""The CoAP-to-HTTP proxy: serves blocks of firmware to constrained devices, fetched once from HTTP upstreams."""
