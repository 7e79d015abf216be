"""The admin API and the metrics."""
