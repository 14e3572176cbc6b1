"""The lowest layer: command line, errors, digests, locations, seeds."""
