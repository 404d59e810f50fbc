"""The student beside the field's networks, timed in one run: `python -m benchmarks.peers --help`."""
