"""Fuzzing: damaged and hostile input of every kind, through the boundary of the commands."""
