"""Benchmarks: what the pipeline reaches, beside a hand-written floor measured in the same run. make bench."""
