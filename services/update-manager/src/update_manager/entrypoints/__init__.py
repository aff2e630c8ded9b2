"""Faces: the Management API, the device API, the worker. Each reads, calls one use case, answers."""
