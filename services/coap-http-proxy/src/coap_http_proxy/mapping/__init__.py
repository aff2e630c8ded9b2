"""Pure rules between CoAP and HTTP: which request means what, and which answer it gets."""
