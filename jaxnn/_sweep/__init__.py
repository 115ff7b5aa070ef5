"""Many runs in one program: every combination of learning rates, seeds, penalties, options and folds.

- `_grid`: which settings the lanes have, checked
- `_sweep`: the verb, and everything that it refuses
- `_starts`: where the lanes begin
- `_program`: one round of all lanes, compiled
- `_driver`: the host's driver: groups, pieces, interrupts
- `_place`: how many lanes at once, on which devices, and which are dropped
- `_table`, `_progress`: what has been reached so far, and what is told meanwhile
- `_runs`: what comes back: a table, the best run, stacked parameters
- `_verdict`: which rate to take, and why
- `_ensemble`: many runs as one model
- `_range`: the learning rate range test
"""
