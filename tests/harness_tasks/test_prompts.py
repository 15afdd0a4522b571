"""Prompts: word for word those of lm_eval's own tasks."""

import pytest

from harness_tasks import xcopa, xnli

XNLI = {"language": "de", "premise": "Es regnet.", "hypothesis": "Es ist nass.", "label": 0}
XCOPA = {
    "language": "it",
    "premise": "Piove. ",
    "choice1": "Esco.",
    "choice2": "È bello.",
    "question": "effect",
}


def test_xnli_prompt():
    assert xnli.doc_to_text(XNLI) == ""
    assert xnli.doc_to_choice(XNLI) == [
        "Es regnet., richtig? Ja, Es ist nass.",
        "Es regnet., richtig? Auch, Es ist nass.",
        "Es regnet., richtig? Nein, Es ist nass.",
    ]


def test_xcopa_prompt():
    assert xcopa.doc_to_text(XCOPA) == "Piove quindi"
    assert xcopa.doc_to_text({**XCOPA, "question": "cause"}) == "Piove perché"
    assert xcopa.doc_to_choice(XCOPA) == ["esco.", "è bello."]


def test_whole_premise_keeps_letters():
    thai = {**XCOPA, "language": "th", "premise": "ฝนตก"}
    assert xcopa.doc_to_text(thai) == "ฝนต ดังนั้น"
    assert xcopa.doc_to_text_whole(thai) == "ฝนตก ดังนั้น"
    assert xcopa.doc_to_text_whole(XCOPA) == xcopa.doc_to_text(XCOPA)


def test_words_are_those_of_lm_eval():
    pytest.importorskip("lm_eval")
    from lm_eval.tasks.xcopa import utils as stock_xcopa
    from lm_eval.tasks.xnli import utils as stock_xnli

    for language, words in stock_xnli.LANGUAGES.items():
        assert xnli.WORDS[language] == tuple(words.values())
    for language in set(xcopa.CONNECTORS) - {"en"}:
        stock = getattr(stock_xcopa, f"doc_to_text_{language}")
        for question in ("cause", "effect"):
            doc = {**XCOPA, "language": language, "question": question}
            assert xcopa.doc_to_text(doc) == stock(doc)
    assert xcopa.doc_to_choice(XCOPA) == stock_xcopa.doc_to_choice(XCOPA)


def test_english_connectors_are_those_of_lm_evals_copa():
    pytest.importorskip("lm_eval")
    from lm_eval.tasks.super_glue.copa.utils import doc_to_text

    for question in ("cause", "effect"):
        doc = {**XCOPA, "language": "en", "question": question}
        assert xcopa.doc_to_text(doc) == doc_to_text(doc)
