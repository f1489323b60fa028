"""Sessions of an instrument: they are found, each is picked by a process of its own, and shown."""
