"""Arranges: one session per device that carries out what the pure journey asks for."""
