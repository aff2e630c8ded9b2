"""The LwM2M gateway: registrations of devices, and the journey of each through a firmware update."""
