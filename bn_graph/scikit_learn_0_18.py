"""The draws of scikit-learn 0.18.1's StratifiedShuffleSplit, number for number: the tutorial's were made by it.

It read labels of two dimensions as one flat vector. So a one-hot matrix makes it draw rows more than once.
"""

import numpy as np


def draw_rows(labels: np.ndarray, test_size: int, random_state: int):
    """The numbers of the rows that stay, and of the `test_size` rows that are taken out, both int64.

    labels: [rows], or one-hot [rows, classes].

    Raises `ValueError` where there are too few rows of a class.
    """
    rng = np.random.RandomState(random_state)
    classes, class_counts = np.unique(labels, return_counts=True)
    train_size = len(labels) - test_size
    if class_counts.min() < 2:
        raise ValueError("a class has only 1 member")
    if min(train_size, test_size) < len(classes):
        raise ValueError(f"{min(train_size, test_size)} rows are fewer than the {len(classes)} classes")
    train_counts = _approximate_mode(class_counts, train_size, rng)
    test_counts = _approximate_mode(class_counts - train_counts, test_size, rng)
    train, test = [], []
    for label, count, n_train, n_test in zip(classes, class_counts, train_counts, test_counts, strict=True):
        permutation = rng.permutation(count)
        # Of a one-hot matrix, label 0.0 gives each row nine times, label 1.0 once.
        rows = np.where(labels == label)[0][permutation]
        train.append(rows[:n_train])
        test.append(rows[n_train : n_train + n_test])
    return rng.permutation(np.concatenate(train)), rng.permutation(np.concatenate(test))


def _approximate_mode(class_counts, n_draws, rng):
    """How many of each class to draw: their share, rounded down, and the largest remainders once more."""
    # 0.18.1 multiplies before it divides. Later releases divide first; that rounds otherwise, and the remainders of
    # equal classes then tie or do not tie.
    continuous = n_draws * class_counts / class_counts.sum()
    floored = np.floor(continuous)
    remainder = continuous - floored
    missing = int(n_draws - floored.sum())
    for value in np.unique(remainder)[::-1]:
        if missing == 0:
            break
        (tied,) = np.where(remainder == value)
        chosen = rng.choice(tied, size=min(len(tied), missing), replace=False)
        floored[chosen] += 1
        missing -= len(chosen)
    return floored.astype(int)
