"""Image processing: functions that take and return arrays."""
