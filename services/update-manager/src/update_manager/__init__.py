"""The update manager: what should run where, and how far it is."""
