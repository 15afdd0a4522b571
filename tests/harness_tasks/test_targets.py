"""Targets are data: whoever is not a target's own file asks its record, never its name."""

import ast
import re
from pathlib import Path

import pytest

from harness_tasks.errors import UserError
from harness_tasks.targets import document_pairs, get_target, targets

ROOT = Path(__file__).resolve().parents[2]


def named(tree: ast.AST, names: list[str]) -> list[str]:
    """Text that is just a target's name, and names of Python that have it as a word."""
    word = re.compile(rf"(?:^|[^a-z])(?:{'|'.join(names)})(?:$|[^a-z])")
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and node.value in names:
            found.append(f"line {node.lineno}: {node.value!r}")
        spoken = {
            ast.Name: lambda n: n.id,
            ast.Attribute: lambda n: n.attr,
            ast.alias: lambda n: n.name,
            ast.ImportFrom: lambda n: n.module or "",
        }.get(type(node))
        if spoken and word.search(spoken(node).lower()):
            found.append(f"line {node.lineno}: {spoken(node)}")
    return found


def test_no_module_but_the_targets_own_names_a_target():
    files = [*(ROOT / "xscale").rglob("*.py"), *(ROOT / "harness_tasks").rglob("*.py")]
    outside = [path for path in files if "targets" not in path.relative_to(ROOT).parts]
    assert len(outside) > 50
    found = {
        str(path.relative_to(ROOT)): hits
        for path in outside
        if (hits := named(ast.parse(path.read_text(encoding="utf-8")), list(targets())))
    }
    assert not found


def test_a_premise_with_its_three_hypotheses_is_a_cluster(real_data, read_real):
    cluster = get_target("xnli").cluster
    premises = {}
    for number, row in enumerate(read_real("xnli", "en")):
        premises.setdefault(cluster(number), set()).add(row["premise"])
    assert len(premises) == 1670 and all(len(texts) == 1 for texts in premises.values())


def test_one_pair_a_document_or_one_a_choice():
    nli = {"target": "xnli", "premise": "A", "hypothesis": "B"}
    copa = {"target": "xcopa", "premise": "A", "choice1": "B", "choice2": "C", "question": "cause"}
    assert document_pairs(nli) == [("A", "B")]
    assert document_pairs(copa) == [("B", "A"), ("C", "A")]
    assert get_target("xnli").score(2, 2) == (1, 1) and get_target("xnli").score(2, 0) == (0, 1)


def test_an_unknown_target_or_language_is_refused_with_what_there_is():
    with pytest.raises(UserError, match="unknown target task 'snli'; there are: xnli, xcopa"):
        get_target("snli")
    with pytest.raises(UserError, match="xcopa has no language 'xx'; there are: en, et"):
        get_target("xcopa").place("xx")
