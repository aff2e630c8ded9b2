"""The Management API: hawkBit's shapes and codes under /rest/v1, and Updraft's extensions beside them."""
