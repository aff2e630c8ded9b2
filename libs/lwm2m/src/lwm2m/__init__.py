"""LwM2M without I/O: paths, links, TLV, SenML, registration, the firmware object (OMA LwM2M 1.0 to 1.2)."""
