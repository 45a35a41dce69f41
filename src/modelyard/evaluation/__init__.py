"""Measuring a classifier: metrics with intervals, paired comparison, latency, the report."""
