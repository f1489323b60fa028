"""The page, the health check and the metrics; read-only unless people may change settings."""
