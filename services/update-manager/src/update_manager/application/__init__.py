"""Use cases: each takes an open session and plain values, and arranges what the domain decides."""
