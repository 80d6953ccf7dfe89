"""Benchmarks: arms over problems at equal generated tokens, hidden tests at the end, paired statistics, reports."""
