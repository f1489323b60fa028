"""Monitoring of a session: status, problems, health, drift and metrics."""
