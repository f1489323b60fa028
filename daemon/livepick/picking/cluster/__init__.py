"""Picking on a Dask cluster: the coordinator's side, and what runs on its nodes."""
