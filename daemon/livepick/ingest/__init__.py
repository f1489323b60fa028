"""Watched folders → "this file is a complete micrograph"."""
