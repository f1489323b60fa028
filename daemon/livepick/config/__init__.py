"""The schema of the configuration, reading YAML, error messages, reload."""
