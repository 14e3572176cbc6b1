"""The ledger: finished folds and what is kept beside them."""
