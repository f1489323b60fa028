"""Sources of the files in deploy/. `python deploy/generate.py` writes them; a test compares."""
