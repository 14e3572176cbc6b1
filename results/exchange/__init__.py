"""Bundles, imports, submissions and trackers."""
