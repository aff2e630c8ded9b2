"""CoAP: the only room that knows aiocoap."""
