"""Measurement of the particle's diameter and contrast from the first micrographs."""
