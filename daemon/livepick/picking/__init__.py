"""Picking pipeline: ledger → workers → coordinate files → ledger."""
