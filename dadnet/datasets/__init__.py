"""Datasets: an official annotation and its frames become an index, one row per clip."""
