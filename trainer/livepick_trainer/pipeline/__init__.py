"""The stages, the run's context, progress, report."""
