"""From the ledger of finished folds to leaderboards: a pure function, without torch or Ray."""

import dadnet as dadnet  # before all other imports: it guards those of a command
