"""Ingest of a dataset in chunks."""
