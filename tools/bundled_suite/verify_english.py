"""Measure the English half of the bundled suite: counts, overlap of words, and how far shallow cues carry.

    python tools/bundled_suite/verify_english.py    # needs scikit-learn

The hypothesis-only and choices-only lines should be near chance, the ID words nearly all known from training,
and the OOD words mostly unknown.
"""

from __future__ import annotations

import json
import re
import sys
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

from sklearn.feature_extraction import DictVectorizer
from sklearn.linear_model import LogisticRegression

MIRROR = Path(__file__).resolve().parents[2] / "harness_tasks" / "bundled"
STOPWORDS = frozenset(
    """
    a about after all also an and another any are as at away be because become been before behind but by
    can could did do does down every everybody few first for from had has have he her him his if in into
    is it its just less many more most my near next no nobody not nothing now of off on one only or
    other out over she so some somebody someone something than that the their them then there they this
    three to too two under until up very was were what when which while who will with without would both
    during such than through
    """.split()
)
Row = dict[str, Any]


def rows_of(name: str) -> list[Row]:
    """The rows of a file of the mirror."""
    return [json.loads(line) for line in (MIRROR / name).read_text(encoding="utf-8").splitlines()]


def words(text: str) -> list[str]:
    """The lower-cased words."""
    return re.findall(r"[a-z]+", text.lower().replace("'s", ""))


def stem(word: str) -> str:
    """The word without the commonest endings."""
    for ending in ("ning", "ting", "ies", "ing", "ied", "ed", "es", "ly", "s", "e", "y"):
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            return word[: -len(ending)]
    return word


def content(texts: list[str]) -> set[str]:
    """The stems of the content words."""
    return {stem(w) for text in texts for w in words(text) if w not in STOPWORDS}


def texts_of(rows: list[Row]) -> list[str]:
    """All sentences of the rows."""
    fields = ("premise", "hypothesis", "choice1", "choice2")
    return [row[field] for row in rows for field in fields if field in row]


def pick(rows: list[Row], numbers: list[int]) -> list[Row]:
    """The rows with these numbers."""
    return [rows[n] for n in numbers]


def nli_features(row: Row, alone: bool) -> Counter[str]:
    """Words and pairs of words of the hypothesis; unless alone, also what it shares with the premise."""
    hyp, pre = words(row["hypothesis"]), words(row["premise"])
    feats = Counter(f"h:{w}" for w in hyp) + Counter(f"h2:{a} {b}" for a, b in pairwise(hyp))
    if not alone:
        feats += Counter(f"both:{w}" for w in set(hyp) & set(pre))
        feats += Counter(f"only-h:{w}" for w in set(hyp) - set(pre))
        feats += Counter(f"only-p:{w}" for w in set(pre) - set(hyp))
        feats[f"new:{min(len(set(hyp) - set(pre)), 5)}"] = 1
        feats[f"dropped:{min(len(set(pre) - set(hyp)), 8)}"] = 1
        feats[f"not:{'not' in hyp}/{'not' in pre}"] = 1
    return feats


def accuracy(model: LogisticRegression, matrix: Any, rows: list[Row]) -> float:
    """The share of rows whose label the model gives."""
    return float((model.predict(matrix) == [r["label"] for r in rows]).mean())


def report_nli(members: Row) -> None:
    """Shallow classifiers on the NLI rows."""
    train, valid = rows_of("xscale/nli/default/train.jsonl"), rows_of("xscale/nli/default/validation.jsonl")
    test = rows_of("facebook/xnli/en/test.jsonl")
    parts = {"train-like": valid} | {d: pick(test, members["xnli"]["test"][d]) for d in ("id", "ood")}
    for alone in (True, False):
        vec = DictVectorizer()
        matrix = vec.fit_transform([nli_features(r, alone) for r in train])
        model = LogisticRegression(C=0.3, max_iter=300).fit(matrix, [r["label"] for r in train])
        for name, rows in parts.items():
            score = accuracy(model, vec.transform([nli_features(r, alone) for r in rows]), rows)
            print(f"nli {'hypothesis only' if alone else 'premise and hypothesis'} {name}: {score:.3f}")


def copa_score(row: Row, side: str, alone: bool) -> Counter[str]:
    """Words of one alternative, and unless alone its word pairs with the premise."""
    choice = {stem(w) for w in words(row[side]) if w not in STOPWORDS}
    feats = Counter(f"{row['question']}:{w}" for w in choice)
    if not alone:
        premise = {stem(w) for w in words(row["premise"]) if w not in STOPWORDS}
        feats += Counter(f"{row['question']}:{p}>{w}" for p in premise for w in choice)
        feats["shared"] = len(premise & choice)
    return feats


def copa_features(row: Row, alone: bool) -> dict[str, float]:
    """The features of the first alternative less those of the second."""
    first, second = (copa_score(row, side, alone) for side in ("choice1", "choice2"))
    return {key: first[key] - second[key] for key in first | second}


def report_copa(members: Row) -> None:
    """Shallow classifiers on the COPA rows."""
    train, valid = rows_of("xscale/copa/default/train.jsonl"), rows_of("xscale/copa/default/validation.jsonl")
    test = rows_of("aps/super_glue/copa/test.jsonl")
    parts = {"train-like": valid} | {d: pick(test, members["xcopa"]["test"][d]) for d in ("id", "ood")}
    for alone in (True, False):
        vec = DictVectorizer()
        matrix = vec.fit_transform([copa_features(r, alone) for r in train])
        model = LogisticRegression(C=1.0, fit_intercept=False).fit(matrix, [r["label"] for r in train])
        for name, rows in parts.items():
            score = accuracy(model, vec.transform([copa_features(r, alone) for r in rows]), rows)
            print(f"copa {'choices only' if alone else 'premise and choices'} {name}: {score:.3f}")


def report_words(members: Row) -> None:
    """The share of the test items' content words that training has."""
    for task, train_files, test_file, key in (
        ("nli", ("default/train", "target/train"), "facebook/xnli/en/test.jsonl", "xnli"),
        ("copa", ("default/train", "target/train"), "aps/super_glue/copa/test.jsonl", "xcopa"),
    ):
        known = content([t for f in train_files for t in texts_of(rows_of(f"xscale/{task}/{f}.jsonl"))])
        for domain in ("id", "ood"):
            found = content(texts_of(pick(rows_of(test_file), members[key]["test"][domain])))
            new, old = sorted(found - known), sorted(found & known)
            print(
                f"{task} {domain}: {len(old) / len(found):.3f} of {len(found)} content words are in training"
            )
            print(f"    {'new' if domain == 'id' else 'known'}: {' '.join(new if domain == 'id' else old)}")


def report_counts() -> int:
    """Sizes, balance and overlaps; the number of faults."""
    faults = 0
    nli = {
        s: rows_of(f"xscale/nli/{s}.jsonl") for s in ("default/train", "default/validation", "target/train")
    }
    nli["test"] = rows_of("facebook/xnli/en/test.jsonl") + rows_of("facebook/xnli/en/validation.jsonl")
    premises = {s: {r["premise"] for r in rows} for s, rows in nli.items()}
    for name, rows in nli.items():
        pairs = {(r["premise"], r["hypothesis"]) for r in rows}
        print(f"nli {name}: {len(rows)} rows, labels {sorted(Counter(r['label'] for r in rows).items())}")
        faults += len(rows) - len(pairs)
        faults += sum(len(premises[name] & premises[other]) for other in nli if other > name)
    copa = {
        s: rows_of(f"xscale/copa/{s}.jsonl") for s in ("default/train", "default/validation", "target/train")
    }
    copa["test"] = rows_of("aps/super_glue/copa/test.jsonl") + rows_of("aps/super_glue/copa/validation.jsonl")
    keys = {s: {(r["premise"], r[f"choice{r['label'] + 1}"]) for r in rows} for s, rows in copa.items()}
    for name, rows in copa.items():
        cells = sorted(Counter((r["question"], r["label"]) for r in rows).items())
        print(f"copa {name}: {len(rows)} rows, {cells}")
        faults += len(rows) - len({(r["premise"], r["choice1"], r["choice2"], r["question"]) for r in rows})
        faults += sum(len(keys[name] & keys[other]) for other in copa if other > name)
    print(f"repeated rows or shared items: {faults}")
    return faults


def main() -> int:
    """Print everything; exit 1 when rows repeat or are shared between splits."""
    members = json.loads((MIRROR / "membership.json").read_text(encoding="utf-8"))
    faults = report_counts()
    report_words(members)
    report_nli(members)
    report_copa(members)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
