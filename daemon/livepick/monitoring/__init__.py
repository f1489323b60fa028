"""How the session is doing: status, problems, health, drift, metrics."""
