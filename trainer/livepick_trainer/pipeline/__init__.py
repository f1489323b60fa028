"""Stages of a training run, its context, progress and report."""
