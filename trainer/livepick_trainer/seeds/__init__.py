"""Preprocessing, labels, templates, diameter."""
