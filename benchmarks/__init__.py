"""Benchmarks: ratios within one run, since this kind of machine is shared and noisy."""
