"""The SQLite ledger: its only writer, the writer's inbox, and the readers."""
