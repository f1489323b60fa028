"""Values that pass between processes: job, run, progress, bundle, report."""
