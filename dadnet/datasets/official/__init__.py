"""Readers of the official layouts: one file per dataset."""
