"""The gateway's edges to Redis and to the update manager."""
