"""Experiments: one question a file, answered by a run; `python -m experiments` lists them.

Every file reads from top to bottom: the question and what was expected, then

    Config, QUICK                what is run, and a form of it that takes seconds
    run(config) -> report        the numbers, all of them: a dictionary that JSON can hold
    table(report) -> str         what is printed
    answer(report) -> str        one sentence, with the number
    draw(report) -> Figure       the picture, from the report alone
    check(report)                asserts the answer, as it was found
"""

# In the order of a lecture.
NAMES = (
    "linear_classifier",
    "logistic_regression",
    "softmax_regression",
    "hill_climbing",
    "steepest_direction",
    "gradient_ascent_2d",
    "worked_derivatives",
    "autodiff_cost",
    "batch_stochastic_minibatch",
    "learning_rate",
    "learned_features",
    "activations",
    "universal_approximation",
    "overfitting",
    "early_stopping",
    "per_example",
    "ensembles",
    "mnist",
)
