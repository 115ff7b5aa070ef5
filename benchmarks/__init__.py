"""Races against the peers, on the same work, and the figures the project promises. `python -m benchmarks` lists
them.
"""
