"""Pages: leaderboards, runs, comparisons, studies, robustness, ablations."""
