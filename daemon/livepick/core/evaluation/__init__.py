"""Matching picks, comparing models, the drift test."""
