"""Benchmarks: figures to look at, never timed tests. `python -m benchmarks.<name> --help` tells what each takes."""
