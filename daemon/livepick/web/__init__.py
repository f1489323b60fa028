"""The page, the health check and the metrics, read-only."""
