"""The operators' console: HTML over the update manager's REST API, and nothing else."""
