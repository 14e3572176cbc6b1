"""Training of one fold, of a stack of folds, and of the teacher."""
