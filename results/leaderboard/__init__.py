"""Rows, columns, ranks and exports of a leaderboard."""
