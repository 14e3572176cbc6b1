"""Counts, intervals and paired tests over subjects."""
