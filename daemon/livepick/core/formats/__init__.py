"""File formats of the field: one file per format, reader and writer together."""
