"""Clips with labels, the folds of the protocols, the audit, and the data of one fold."""
