"""livepick: particle picking while the microscope runs."""

__version__ = "0.1.0"
