"""A software device: NOR flash, MCUboot, an LwM2M client and Zephyr's firmware pull, without a board."""
