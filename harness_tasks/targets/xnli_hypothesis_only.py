"""The classifier behind the subset ``hypothesis_hard``: it sees the hypothesis and nothing else.

Recipe: English hypotheses of MNLI's ``validation_matched`` (9,815) and of XNLI's ``validation`` (2,490), both
complete sets that no checkpoint is scored on; scikit-learn's tf-idf (lower case, words of two and more
characters, words and pairs of words that occur at least twice, 1 + log of the counts) and multinomial
logistic regression with C = 1, solved by Newton's method to a tolerance of 1e-8. Nothing in it is random, so
it has no seed. It is right on 53.7% of XNLI's test rows (Gururangan et al. 2018 report 53% for MNLI). The
two likeliest labels of a test row are at least 1e-4 apart, a hundred times more than what another solver
changes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from harness_tasks.sources import read_rows

TRAINING = (("nyu-mll/glue", "mnli", "validation_matched"), ("facebook/xnli", "en", "validation"))


def wrong_rows(test: Sequence[Mapping[str, Any]], source: str) -> list[int]:
    """Numbers of the `test` rows that the classifier, trained on data of `source`, gets wrong."""
    predictions = np.argmax(probabilities([row["hypothesis"] for row in test], source), axis=1)
    return np.flatnonzero(predictions != [row["label"] for row in test]).tolist()


def probabilities(hypotheses: Sequence[str], source: str) -> np.ndarray:
    """Probability of each label for each hypothesis, shape (hypotheses, 3)."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    rows = [row for place in TRAINING for row in read_rows(*place, source) if row["label"] in (0, 1, 2)]
    vectorizer = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, min_df=2)
    features = vectorizer.fit_transform(row["hypothesis"] for row in rows)
    model = LogisticRegression(C=1.0, solver="newton-cg", tol=1e-8, max_iter=10_000)
    model.fit(features, [row["label"] for row in rows])
    return model.predict_proba(vectorizer.transform(hypotheses))
