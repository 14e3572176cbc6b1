"""Class sets, tasks and the metrics of predictions."""
