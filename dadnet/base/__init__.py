"""What everything else stands on: command line, errors, digests, locations, seeds."""
