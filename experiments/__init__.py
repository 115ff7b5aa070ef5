"""Experiments: one question a file, answered on real data with public names only; `python -m experiments.NAME`."""
