"""Clips with labels, the protocols' folds, the audit, and what a fold may see."""
