"""The edges: PostgreSQL, the artifact store, Redis."""
