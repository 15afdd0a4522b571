"""SQuAD 1.1's scores, written from what its official script does, another way than the project."""

import string
from itertools import groupby


def words_of(text):
    kept = [letter for letter in text.lower() if letter not in set(string.punctuation)]
    runs = ["".join(run) for _, run in groupby(kept, key=lambda letter: letter.isalnum() or letter == "_")]
    return "".join(" " if run in ("a", "an", "the") else run for run in runs).split()


def compute_exact(right, answer):
    return int(words_of(right) == words_of(answer))


def compute_f1(right, answer):
    left, mine = words_of(right), words_of(answer)
    rest, same = list(left), 0
    for word in mine:
        if word in rest:
            rest.remove(word)
            same += 1
    return 2 * same / (len(mine) + len(left)) if same else 0.0
