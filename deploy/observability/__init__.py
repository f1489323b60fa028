"""What deploy/ is made of: `python deploy/generate.py` writes it, and a test compares."""
