"""Watching of folders, and detection of complete micrographs in them."""
