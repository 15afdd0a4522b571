"""Prompts: word for word those of lm_eval's own tasks."""

import pytest

from harness_tasks.targets import doc_to_choice, doc_to_text, get_target
from harness_tasks.targets.forms import COPA_WORDS, NLI_WORDS

XNLI = {"target": "xnli", "language": "de", "premise": "Es regnet.", "hypothesis": "Es ist nass.", "label": 0}
XCOPA = {
    "target": "xcopa",
    "language": "it",
    "premise": "Piove. ",
    "choice1": "Esco.",
    "choice2": "È bello.",
    "question": "effect",
}


def test_xnli_prompt():
    assert doc_to_text(XNLI) == ""
    assert doc_to_choice(XNLI) == [
        "Es regnet., richtig? Ja, Es ist nass.",
        "Es regnet., richtig? Auch, Es ist nass.",
        "Es regnet., richtig? Nein, Es ist nass.",
    ]


def test_xcopa_prompt():
    assert doc_to_text(XCOPA) == "Piove quindi"
    assert doc_to_text({**XCOPA, "question": "cause"}) == "Piove perché"
    assert doc_to_choice(XCOPA) == ["esco.", "è bello."]


def whole(doc):
    target = get_target("xcopa")
    return target.contexts["whole_premise"](doc, target.words(doc["language"]))


def test_whole_premise_keeps_letters():
    thai = {**XCOPA, "language": "th", "premise": "ฝนตก"}
    assert doc_to_text(thai) == "ฝนต ดังนั้น"
    assert whole(thai) == "ฝนตก ดังนั้น"
    assert whole(XCOPA) == doc_to_text(XCOPA)


def test_words_are_those_of_lm_eval():
    pytest.importorskip("lm_eval")
    from lm_eval.tasks.xcopa import utils as stock_xcopa
    from lm_eval.tasks.xnli import utils as stock_xnli

    for language, words in stock_xnli.LANGUAGES.items():
        assert NLI_WORDS[language] == tuple(words.values())
    for language in set(COPA_WORDS) - {"en"}:
        stock = getattr(stock_xcopa, f"doc_to_text_{language}")
        for question in ("cause", "effect"):
            doc = {**XCOPA, "language": language, "question": question}
            assert doc_to_text(doc) == stock(doc)
    assert doc_to_choice(XCOPA) == stock_xcopa.doc_to_choice(XCOPA)


def test_english_connectors_are_those_of_lm_evals_copa():
    pytest.importorskip("lm_eval")
    from lm_eval.tasks.super_glue.copa.utils import doc_to_text as stock

    for question in ("cause", "effect"):
        doc = {**XCOPA, "language": "en", "question": question}
        assert doc_to_text(doc) == stock(doc)
