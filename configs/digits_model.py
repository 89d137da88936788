"""A support-vector machine on handwritten digits: the function that `digits_sweep.yaml` calls.

It is ordinary Python and knows nothing of mpiexec_runner: arguments in, a dict of plain values out. Each key
of the dict becomes a column of the results.
"""

import time

import numpy as np
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.model_selection import StratifiedKFold
from sklearn.svm import SVC
from threadpoolctl import threadpool_limits

FOLDS = 3

# The ranks are the parallelism: linear algebra with threads of its own would only get in their way.
threadpool_limits(1)

# Read once for each rank, when the module is imported, not once for each task.
IMAGES, LABELS = load_digits(return_X_y=True)


def evaluate(C: float, gamma: float, components: int, split_seed: int) -> dict[str, float]:  # noqa: N803
    """Cross-validate one choice of hyperparameters.

    Parameters
    ----------
    C, gamma
        Penalty and kernel width of ``sklearn.svm.SVC``; pixels are between 0 and 16.
    components
        How many principal components of the 64 pixels are kept.
    split_seed
        Shuffles the images before they are split into folds.

    Returns
    -------
    dict
        Mean and standard deviation of the accuracy over the folds, the share of the images that are support
        vectors, and the seconds that fitting took.
    """
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=split_seed)
    accuracy, support, fit_s = [], [], 0.0
    for train, test in folds.split(IMAGES, LABELS):
        began = time.perf_counter()
        pca = PCA(components).fit(IMAGES[train])
        model = SVC(C=C, gamma=gamma).fit(pca.transform(IMAGES[train]), LABELS[train])
        fit_s += time.perf_counter() - began
        accuracy.append(model.score(pca.transform(IMAGES[test]), LABELS[test]))
        support.append(model.n_support_.sum() / len(train))
    return {
        "accuracy": float(np.mean(accuracy)),
        "spread": float(np.std(accuracy)),
        "support": float(np.mean(support)),
        "fit_s": fit_s,
    }
