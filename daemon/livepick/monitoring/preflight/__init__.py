"""Preflight checks: test what the service will need, before a session depends on it."""
