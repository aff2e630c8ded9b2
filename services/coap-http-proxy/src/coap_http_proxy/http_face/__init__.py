"""HTTP clients ask CoAP servers (RFC 8075): `http://proxy/hc/coap://device/path`."""
