"""Commands of the command line that stand apart from the service, one module each."""
