"""The SQLite file, its one writer and inbox, its readers."""
