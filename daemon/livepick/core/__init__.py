"""Arrays in, arrays out: what the service and the trainer share."""
