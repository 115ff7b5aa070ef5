"""Many runs in one program: every combination of learning rates, seeds, penalties, options and folds.

_grid      which settings the lanes have, checked
_folds     cross-validation and the bootstrap, as weights of the examples
_program   one round of all lanes, compiled
_sweep     the host's driver: groups that fit in memory, pieces, finished lanes dropped
_runs      what comes back: a table, the best run, stacked parameters
_verdict   which rate to take, and why
_ensemble  many runs as one model
_range     the learning rate range test
"""
