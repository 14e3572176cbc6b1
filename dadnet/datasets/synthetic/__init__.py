"""The synthetic set of rendered faces."""
