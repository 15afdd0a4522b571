"""The tasks within lm_eval's own loop, with a model whose answers depend only on the request."""

import hashlib
import json
import logging
import math

import pytest

pytest.importorskip("lm_eval")

from lm_eval.api.model import LM
from lm_eval.evaluator import simple_evaluate
from lm_eval.tasks import TaskManager
from lm_eval.utils import handle_non_serializable

from harness_tasks.generate import main as generate
from harness_tasks.rows import Options, build_documents
from harness_tasks.sources import DataError
from harness_tasks.targets import get_target, targets
from harness_tasks.tasks import yaml_folder


class HashModel(LM):
    """A log-likelihood between -1 and 0 that is a hash of context and continuation."""

    def __init__(self):
        super().__init__()
        self.contexts = []

    def loglikelihood(self, requests):
        self.contexts += [request.args for request in requests]
        digests = [hashlib.sha256("|".join(request.args).encode()).digest() for request in requests]
        return [(-int.from_bytes(digest[:6], "big") / 2**48, False) for digest in digests]

    def loglikelihood_rolling(self, requests):
        raise NotImplementedError

    def generate_until(self, requests):
        raise NotImplementedError

    def apply_chat_template(self, chat_history, add_generation_prompt=True):
        text = "".join(f"<{turn['role']}>{turn['content']}</>" for turn in chat_history)
        return text + ("<assistant>" if add_generation_prompt else "")

    def chat_template(self, chat_template=False):
        return "template"

    @property
    def tokenizer_name(self):
        return "none"


def run(tasks, source, model=None, metadata=None, include=None, **options):
    """Results of a run; `tasks` may be a list of names."""
    folders = [str(yaml_folder()), *([str(include)] if include else [])]
    manager = TaskManager(
        include_path=folders, include_defaults=False, metadata={"data": str(source), **(metadata or {})}
    )
    names = [tasks] if isinstance(tasks, str) else tasks
    return simple_evaluate(
        model=model or HashModel(), tasks=names, task_manager=manager, bootstrap_iters=100, **options
    )


def by_hand(task, results):
    """Metric -> mean over the logged samples, counted here."""
    values = {}
    for sample in results["samples"][task]:
        likelihoods = [response[0] for response in sample["filtered_resps"]]
        right = float(likelihoods.index(max(likelihoods)) == sample["doc"]["label"])
        for metric in ("acc", *(f"acc_{name}" for name in sample["doc"]["subsets"])):
            values.setdefault(metric, []).append(right)
    return values


@pytest.fixture(scope="module")
def one_pass(real_data):
    """All documents of three XNLI languages and of all XCOPA ones."""
    tasks = ["xnli_ood_de", "xnli_ood_ur", "xcopa_ood"]
    return run(tasks, real_data, log_samples=True)


def test_all_rows_and_only_them(one_pass):
    assert one_pass["n-samples"]["xnli_ood_de"] == {"original": 5010, "effective": 5010}
    assert one_pass["n-samples"]["xcopa_ood_qu"] == {"original": 500, "effective": 500}
    rows = [sample["doc"]["row"] for sample in one_pass["samples"]["xnli_ood_de"]]
    assert sorted(rows) == list(range(5010))


@pytest.mark.parametrize("task", ["xnli_ood_de", "xnli_ood_ur", "xcopa_ood_en", "xcopa_ood_th"])
def test_metrics_are_what_is_counted_by_hand(one_pass, task):
    values = by_hand(task, one_pass)
    result = one_pass["results"][task]
    target = task.split("_")[0]
    assert set(values) == {"acc", *(f"acc_{subset.name}" for subset in get_target(target).subsets)}
    for metric, counted in values.items():
        mean = sum(counted) / len(counted)
        assert result[f"{metric},none"] == mean
        spread = math.sqrt(sum((value - mean) ** 2 for value in counted) / (len(counted) - 1))
        assert result[f"{metric}_stderr,none"] == pytest.approx(spread / math.sqrt(len(counted)), rel=1e-12)


def test_a_group_is_the_plain_mean_over_languages(one_pass):
    group = one_pass["results"]["xcopa_ood"]
    for metric in ("acc", "acc_id", "acc_ood", "acc_cause", "acc_changed"):
        members = [one_pass["results"][f"xcopa_ood_{language}"] for language in get_target("xcopa").languages]
        values = [member[f"{metric},none"] for member in members]
        errors = [member[f"{metric}_stderr,none"] for member in members]
        assert group[f"{metric},none"] == pytest.approx(sum(values) / 12, rel=1e-12)
        assert group[f"{metric}_stderr,none"] == pytest.approx(math.sqrt(sum(e * e for e in errors)) / 12)


def test_a_filtered_group_gives_exactly_the_number_of_the_pass(one_pass, real_data):
    names = ["xcopa_ood_easy", "xcopa_ood_ood", "xcopa_ood_cause", "xcopa_ood_changed"]
    filtered = run(names, real_data)
    for name, metric in zip(names, ["acc_id", "acc_ood", "acc_cause", "acc_changed"], strict=True):
        for key in ("{}", "{}_stderr"):
            wanted = one_pass["results"]["xcopa_ood"][key.format(metric) + ",none"]
            assert filtered["results"][name][key.format("acc") + ",none"] == wanted
    for name, metric in zip(names, ["acc_id", "acc_ood", "acc_cause", "acc_changed"], strict=True):
        for language in get_target("xcopa").languages:
            pair = filtered["results"][f"{name}_{language}"], one_pass["results"][f"xcopa_ood_{language}"]
            assert pair[0]["acc,none"] == pair[1][f"{metric},none"]
            assert pair[0]["acc_stderr,none"] == pair[1][f"{metric}_stderr,none"]


def test_a_group_of_an_nli_subset_beside_the_whole(real_data):
    """Both select from tasks of the same names; each keeps its own numbers."""
    results = run(["xnli_ood_negation", "xnli_ood_de"], real_data, limit=300)["results"]
    docs = build_documents("xnli", "de", options=Options(str(real_data)), subset="negation")[:300]
    assert (
        len(docs) == 300 and results["xnli_ood_negation_de"]["acc,none"] != results["xnli_ood_de"]["acc,none"]
    )


def test_a_subset_without_documents_is_nan(real_data):
    results = run("xnli_ood", real_data, limit=1)["results"]
    present = [
        f"acc_{name}" for name in build_documents("xnli", "de", options=Options(str(real_data)))[0]["subsets"]
    ]
    for subset in get_target("xnli").subsets:
        for name in ("xnli_ood", "xnli_ood_de"):
            value = results[name][f"acc_{subset.name},none"]
            assert math.isnan(value) != (f"acc_{subset.name}" in present)
            assert results[name][f"acc_{subset.name}_stderr,none"] == "N/A"
    assert results["xnli_ood_de"]["acc,none"] in (0.0, 1.0)


def test_an_empty_subset_of_samples_is_nan(real_data):
    docs = build_documents("xcopa", "et", options=Options(str(real_data)))
    positions = [i for i, doc in enumerate(docs) if "changed" not in doc["subsets"]][:5]
    results = run("xcopa_ood_et", real_data, samples={"xcopa_ood_et": positions}, log_samples=True)
    assert math.isnan(results["results"]["xcopa_ood_et"]["acc_changed,none"])
    logged = results["samples"]["xcopa_ood_et"]
    assert [sample["doc_id"] for sample in logged] == positions
    assert [sample["doc"]["row"] for sample in logged] == [docs[i]["row"] for i in positions]


def test_no_warning_about_unequal_counts(real_data, caplog):
    logging.getLogger("lm_eval").propagate = True
    with caplog.at_level(logging.WARNING):
        run("xcopa_ood", real_data, limit=30)
    assert "Metrics were not scored" not in caplog.text
    assert "is missing in" not in caplog.text


def test_results_record_version_and_data(real_data):
    results = run("xcopa_ood", real_data, limit=2)
    metadata = results["configs"]["xcopa_ood_th"]["metadata"]
    assert (
        results["versions"]["xcopa_ood_th"] == results["versions"]["xcopa_ood"] == targets()["xcopa"].version
    )
    assert metadata["data_source"] == f"mirror:{real_data}"
    assert len(metadata["data_fingerprint"]) == 64
    json.dumps(results["configs"], default=handle_non_serializable)


def test_few_shot_examples_come_from_validation(real_data):
    model = HashModel()
    run("xcopa_ood_it", real_data, model, num_fewshot=2, limit=5)
    validation = {
        doc["premise"].strip()[:-1]
        for doc in build_documents("xcopa", "it", "validation", Options(str(real_data)))
    }
    for context, _ in model.contexts:
        *examples, last = context.split("\n\n")
        assert len(examples) == 2
        assert all(any(example.startswith(premise) for premise in validation) for example in examples)
        assert not any(last.startswith(premise) for premise in validation)


def test_the_short_way_gives_the_same_context(real_data):
    from lm_eval.api.task import ConfigurableTask

    manager = TaskManager(
        include_path=str(yaml_folder()), include_defaults=False, metadata={"data": str(real_data)}
    )
    for name in ("xnli_ood_vi", "xcopa_ood_ta"):
        task = manager.load([name])["tasks"][name]
        for doc in task.eval_docs[:20]:
            assert task.fewshot_context(doc, num_fewshot=0) == ConfigurableTask.fewshot_context(
                task, doc, num_fewshot=0
            )


def test_chat_template_and_system_instruction(real_data):
    model = HashModel()
    run("xcopa_ood_it", real_data, model, limit=2, apply_chat_template=True, system_instruction="Say it.")
    context, continuation = model.contexts[0]
    assert context.startswith("<system>Say it.</><user>") and context.endswith("</><assistant>")
    assert not continuation.startswith(" ")


def test_predict_only_and_write_out(real_data, caplog):
    logging.getLogger("lm_eval").propagate = True
    results = run("xnli_ood_de", real_data, limit=3, predict_only=True)
    assert len(results["samples"]["xnli_ood_de"]) == 3
    assert "acc,none" not in results["results"]["xnli_ood_de"]
    with caplog.at_level(logging.INFO, logger="lm_eval"):
        run("xnli_ood_de", real_data, limit=3, write_out=True)
    assert "context prompt" in caplog.text


def test_cached_requests_follow_the_data(real_data, tmp_path, monkeypatch):
    monkeypatch.setattr("lm_eval.caching.cache.PATH", str(tmp_path))

    def contexts(**metadata):
        model = HashModel()
        run("xcopa_ood_th", real_data, model, metadata, limit=40, cache_requests=True)
        return model.contexts

    repaired = contexts()
    assert contexts() == repaired
    published = contexts(repair_question=False)
    assert published != repaired
    assert contexts(whole_premise=True) not in (published, repaired)
    assert contexts() == repaired


def test_metadata_switches_the_repair_off(real_data):
    model = HashModel()
    run("xcopa_ood_th", real_data, model, {"repair_question": False}, limit=60)
    assert {context.split()[-1] for context, _ in model.contexts} == {"ดังนั้น"}
    model = HashModel()
    run("xcopa_ood_th", real_data, model, limit=60)
    assert {context.split()[-1] for context, _ in model.contexts} == {"ดังนั้น", "เพราะ"}


def test_groups_by_language(real_data):
    results = run("xcopa_ood_axes", real_data, limit=10)["results"]
    wanted = sum(results[f"xcopa_ood_{language}"]["acc,none"] for language in ("ht", "qu")) / 2
    assert results["xcopa_ood_unseen"]["acc,none"] == pytest.approx(wanted)
    assert "acc_ood,none" in results["xcopa_ood_family_turkic"]
    assert sum(name.startswith("xcopa_ood_") and len(name) == 12 for name in results) == 12


def test_a_users_subset_shows_for_languages_and_group(real_data, tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("{name: firsts, target: xcopa, citation: me, rows: [0-99]}", encoding="utf-8")
    results = run("xcopa_ood", real_data, metadata={"subsets_file": str(path)}, log_samples=True)
    group, german = results["results"]["xcopa_ood"], results["results"]["xcopa_ood_it"]
    assert german["acc_firsts,none"] == pytest.approx(
        sum(by_hand("xcopa_ood_it", results)["acc_firsts"]) / 100
    )
    assert group["acc_firsts,none"] == pytest.approx(
        sum(
            results["results"][f"xcopa_ood_{language}"]["acc_firsts,none"]
            for language in get_target("xcopa").languages
        )
        / 12
    )
    generate(["--subsets", str(path), "--output", str(tmp_path / "out")])
    alone = run("xcopa_ood_firsts", real_data, include=tmp_path / "out")
    assert alone["results"]["xcopa_ood_firsts"]["acc,none"] == group["acc_firsts,none"]


def test_the_bundled_suite_runs():
    results = run(["xnli_ood", "xcopa_ood"], "bundled")
    for group, languages in (
        ("xnli_ood", get_target("xnli").languages),
        ("xcopa_ood", get_target("xcopa").languages),
    ):
        assert {"acc,none", "acc_id,none", "acc_ood,none"} <= set(results["results"][group])
        assert len(results["group_subtasks"][group]) == len(languages)
    assert results["configs"]["xnli_ood_de"]["metadata"]["data_source"] == "bundled"
    assert run("xnli_ood_long", "bundled")["n-samples"]["xnli_ood_long_de"]["effective"] == 30
    with pytest.raises(
        DataError, match="bundled has no xcopa subset 'changed'; it has: id, ood, cause, effect"
    ):
        run("xcopa_ood_changed", "bundled")


def test_data_that_was_changed_is_not_scored(copy_of):
    with pytest.raises(DataError, match="in another order"):
        run("xnli_ood_de", copy_of("xnli", "de", lambda rows: rows[::-1]))


def test_unknown_metadata_is_ignored(real_data):
    results = run("xcopa_ood_et", real_data, metadata={"pretrained": "x", "dtype": "float32"}, limit=1)
    assert results["n-samples"]["xcopa_ood_et"]["effective"] == 1


def test_cached_requests_follow_the_chosen_rows(tmp_path, monkeypatch):
    """Other samples, or a user's subset that was changed: never the prompts of other documents."""
    monkeypatch.setattr("lm_eval.caching.cache.PATH", str(tmp_path / "cache"))

    def contexts(task, **options):
        model = HashModel()
        run(task, "bundled", model, cache_requests=True, **options)
        return [context for context, _ in model.contexts[::2]]

    documents = build_documents("xcopa", "et", "test", Options(data="bundled"))
    for first in (0, 20):
        chosen = list(range(first, first + 10))
        prompts = contexts("xcopa_ood_et", samples={"xcopa_ood_et": chosen})
        premises = [documents[number]["premise"].rstrip(".") for number in chosen]
        assert all(prompt.startswith(premise) for prompt, premise in zip(prompts, premises, strict=True))
    sizes = []
    for most in (6, 5, 7):
        (tmp_path / "mine.yaml").write_text(
            f"name: short\ntarget: xcopa\ncitation: me\nrule: {{field: premise, max_words: {most}}}\n"
        )
        generate(["--subsets", str(tmp_path / "mine.yaml"), "--output", str(tmp_path / "mine")])
        sizes.append(len(contexts("xcopa_ood_short_et", include=tmp_path / "mine")))
    assert sizes[1] < sizes[0] < sizes[2]
