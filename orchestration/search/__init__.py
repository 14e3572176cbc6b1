"""The search: studies, trials and the winner."""
