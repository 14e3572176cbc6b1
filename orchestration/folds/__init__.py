"""From a plan to the records of its folds."""
