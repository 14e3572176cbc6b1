"""From the ledger of finished folds to leaderboards: a pure function, without torch or Ray."""
