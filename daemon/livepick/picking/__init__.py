"""Ledger → workers → coordinate files → ledger."""
