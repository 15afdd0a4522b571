"""Write the bundled suite as a mirror of the data sets it stands in for.

    python tools/bundled_suite/build.py           # write harness_tasks/bundled
    python tools/bundled_suite/build.py --check   # exit 1 if it differs from what would be written
    python tools/bundled_suite/build.py --classify MIRROR   # hypothesis_hard.txt again, before the rest

Reads ``nli/<language>.txt`` and ``copa/<language>.txt`` beside this file for every language that is there.
English says what every block is (split, ID or OOD, question, answer); the other languages carry the same
blocks with only the block's name in the header, so a missing or extra block, an empty sentence or a sentence
left in English is refused (exit code 2). The English training data comes from ``generate_training``.

ID and OOD are said in the headers. The other subsets follow the rules of XNLI's and XCOPA's own (``xscale``'s target
records); ``hypothesis_hard`` needs a classifier that is trained on MNLI's and XNLI's validation sets, so its rows
stand in ``hypothesis_hard.txt``, with a fingerprint of the hypotheses that they were decided on.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from generate_training import copa_splits, nli_splits

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
TARGET = ROOT / "harness_tasks" / "bundled"
sys.path.insert(0, str(ROOT))

from harness_tasks.targets import get_target  # noqa: E402 (this checkout's, not an installed one)
from harness_tasks.targets.xnli_hypothesis_only import wrong_rows  # noqa: E402

NLI_LANGUAGES = ("ar", "bg", "de", "el", "en", "es", "fr", "hi", "ru", "sw", "th", "tr", "ur", "vi", "zh")
COPA_LANGUAGES = ("en", "et", "ht", "id", "it", "qu", "sw", "ta", "th", "tr", "vi", "zh")
NLI_MARKS = ("P", "E", "N", "C")
COPA_MARKS = ("P", "1", "2")
LABELS = {"E": 0, "N": 1, "C": 2}
SPLITS = ("test", "validation")
DOMAINS = ("id", "ood")
RULES = {"xnli": ("overlap", "negation", "long", "numbers"), "xcopa": ("cause", "effect")}
HARD = "hypothesis_hard.txt"

Row = dict[str, Any]


class SuiteError(Exception):
    """A language file that cannot be used, said in one line."""


@dataclass(frozen=True)
class Block:
    """One block of a language file: its header words and its sentences by their mark."""

    name: str
    header: tuple[str, ...]
    sentences: dict[str, str]
    answer: str = ""

    @property
    def number(self) -> int:
        """The number in the block's name."""
        return int(self.name[1:])


def read_block(text: str, marks: tuple[str, ...], where: str) -> Block:
    """One block out of its lines."""
    lines = text.splitlines()
    if not (lines[0].startswith("[") and lines[0].endswith("]") and lines[0][1:-1].split()):
        raise SuiteError(f"{where}: no block header in {lines[0]!r}")
    name, *header = lines[0][1:-1].split()
    sentences: dict[str, str] = {}
    answer = ""
    for line in lines[1:]:
        mark, _, sentence = line.strip().partition(" ")
        if mark == "answer":
            answer = sentence.strip()
        elif mark not in marks or mark in sentences:
            raise SuiteError(f"{where}: block {name} has a line it should not have: {line!r}")
        elif not sentence.strip():
            raise SuiteError(f"{where}: block {name} has nothing after {mark}")
        else:
            sentences[mark] = sentence.strip()
    missing = [mark for mark in marks if mark not in sentences]
    if missing:
        raise SuiteError(f"{where}: block {name} has no line {missing[0]}")
    return Block(name, tuple(header), sentences, answer)


def read_blocks(path: Path, marks: tuple[str, ...]) -> dict[str, Block]:
    """All blocks of a language file by name."""
    where = f"{path.parent.name}/{path.name}"
    text = path.read_text(encoding="utf-8-sig").replace("\r\n", "\n")
    parts = "\n".join(line.rstrip() for line in text.splitlines()).strip().split("\n\n")
    blocks: dict[str, Block] = {}
    for part in parts:
        if not part.strip():
            continue
        block = read_block(part.strip(), marks, where)
        if block.name in blocks:
            raise SuiteError(f"{where}: block {block.name} is there twice")
        blocks[block.name] = block
    return blocks


def compare(where: str, english: dict[str, Block], other: dict[str, Block]) -> None:
    """Refuse a translation with other blocks than English, or with a sentence left in English."""
    for name in english:
        if name not in other:
            raise SuiteError(f"{where}: block {name} is missing")
    for name, block in other.items():
        if name not in english:
            raise SuiteError(f"{where}: block {name} is not in the English file")
        for mark, sentence in block.sentences.items():
            if sentence == english[name].sentences[mark]:
                raise SuiteError(f"{where}: block {name} line {mark} is the English sentence")


def read_task(
    source: Path, task: str, languages: tuple[str, ...], marks: tuple[str, ...]
) -> dict[str, dict[str, Block]]:
    """The blocks of every language that has a file, English first."""
    folder = source / task
    if not (folder / "en.txt").is_file():
        raise SuiteError(f"{task}/en.txt is not there")
    found = {"en": read_blocks(folder / "en.txt", marks)}
    for path in sorted(folder.glob("*.txt")):
        if path.stem not in languages:
            raise SuiteError(f"{task}/{path.name}: {path.stem} is not a language of this task")
        if path.stem != "en":
            found[path.stem] = read_blocks(path, marks)
            compare(f"{task}/{path.name}", found["en"], found[path.stem])
    return found


def in_order(english: dict[str, Block], split: str) -> list[Block]:
    """The blocks of a split with ID and OOD in turn."""
    queues = [[b for b in english.values() if b.header[:2] == (split, domain)] for domain in DOMAINS]
    longest = max(len(queue) for queue in queues)
    return [queue[n] for n in range(longest) for queue in queues if n < len(queue)]


def check_headers(task: str, english: dict[str, Block]) -> None:
    """Refuse an English header that does not say what the block is."""
    for block in english.values():
        known = len(block.header) >= 2 and block.header[0] in SPLITS and block.header[1] in DOMAINS
        if task == "copa":
            known = known and block.header[2:] in (("cause",), ("effect",)) and block.answer in ("1", "2")
        if not known:
            raise SuiteError(f"{task}/en.txt: the header of block {block.name} is not complete")


def nli_rows(blocks: dict[str, Block], order: list[Block]) -> list[Row]:
    """Three rows a block, in an order that turns with the block's number."""
    rows = []
    for block in order:
        sentences = blocks[block.name].sentences
        marks = [NLI_MARKS[1:][(block.number + n) % 3] for n in range(3)]
        rows += [{"premise": sentences["P"], "hypothesis": sentences[m], "label": LABELS[m]} for m in marks]
    return rows


def copa_rows(blocks: dict[str, Block], order: list[Block], english: bool) -> list[Row]:
    """One row a block, in the fields of the English or of the translated data set."""
    rows = []
    for idx, block in enumerate(order):
        sentences, question, label = blocks[block.name].sentences, block.header[2], int(block.answer) - 1
        row: Row = {
            "premise": sentences["P"],
            "choice1": sentences["1"],
            "choice2": sentences["2"],
            "question": question,
        }
        row |= {"idx": idx, "label": label} if english else {"label": label, "idx": idx, "changed": False}
        rows.append(row)
    return rows


def membership(order: list[Block], rows_a_block: int) -> Row:
    """Which rows are ID and which OOD."""
    result: Row = {}
    for domain in DOMAINS:
        starts = [rows_a_block * n for n, block in enumerate(order) if block.header[1] == domain]
        result[domain] = [start + n for start in starts for n in range(rows_a_block)]
    return result


def by_rule(target: str, english: list[Row]) -> Row:
    """The rows of every subset whose rule looks at the English row only."""
    rules = {subset.name: subset.members for subset in get_target(target).subsets}
    return {name: list(rules[name]({"en": english}, [], "")) for name in RULES[target]}


def hypotheses_digest(english: list[Row]) -> str:
    """A fingerprint of the hypotheses and labels, in order."""
    text = "\n".join(f"{row['label']} {row['hypothesis']}" for row in english)
    return hashlib.sha256(text.encode()).hexdigest()


def read_hard(source: Path, english: list[Row]) -> list[int]:
    """The rows of ``hypothesis_hard.txt``: a fingerprint, then row numbers."""
    path = source / HARD
    digest, *rows = path.read_text(encoding="utf-8").split() if path.is_file() else [""]
    if digest != hypotheses_digest(english):
        raise SuiteError(f"{HARD} is not about these hypotheses; run build.py --classify MIRROR")
    return [int(row) for row in rows]


def classify(source: Path, mirror_folder: str) -> None:
    """Write ``hypothesis_hard.txt`` with the classifier trained on the sets of a mirror folder."""
    english = read_blocks(source / "nli" / "en.txt", NLI_MARKS)
    rows = nli_rows(english, in_order(english, "test"))
    numbers = " ".join(str(row) for row in wrong_rows(rows, mirror_folder))
    (source / HARD).write_text(f"{hypotheses_digest(rows)}\n{numbers}\n", encoding="utf-8")


def constructions(order: list[Block]) -> list[str]:
    """The construction of every OOD row, in the order of the OOD rows."""
    return [block.header[2] for block in order if block.header[1] == "ood" for _ in range(3)]


def as_lines(rows: list[Row]) -> str:
    """The rows as one JSON object a line."""
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def mirror(source: Path) -> dict[str, str]:
    """The text of every file of the mirror by its path."""
    nli = read_task(source, "nli", NLI_LANGUAGES, NLI_MARKS)
    copa = read_task(source, "copa", COPA_LANGUAGES, COPA_MARKS)
    check_headers("nli", nli["en"])
    check_headers("copa", copa["en"])
    members: Row = {"xnli": {}, "xcopa": {}}
    files: dict[str, str] = {}
    for split in SPLITS:
        order = in_order(nli["en"], split)
        members["xnli"][split] = membership(order, 3) | {"construction": constructions(order)}
        for language, blocks in nli.items():
            files[f"facebook/xnli/{language}/{split}.jsonl"] = as_lines(nli_rows(blocks, order))
        if split == "test":
            english = nli_rows(nli["en"], order)
            members["xnli"][split] |= by_rule("xnli", english)
            members["xnli"][split]["hypothesis_hard"] = read_hard(source, english)
        order = in_order(copa["en"], split)
        members["xcopa"][split] = membership(order, 1)
        for language, blocks in copa.items():
            folder = "aps/super_glue/copa" if language == "en" else f"cambridgeltl/xcopa/{language}"
            files[f"{folder}/{split}.jsonl"] = as_lines(copa_rows(blocks, order, language == "en"))
        if split == "test":
            members["xcopa"][split] |= by_rule("xcopa", copa_rows(copa["en"], order, english=True))
    trained = nli_splits()
    for split in ("train", "validation"):
        files[f"xscale/nli/default/{split}.jsonl"] = as_lines(trained[split])
    files["xscale/nli/target/train.jsonl"] = as_lines(trained["target"])
    chosen = copa_splits()
    for split in ("train", "validation"):
        files[f"xscale/copa/default/{split}.jsonl"] = as_lines(chosen[split])
    files["xscale/copa/target/train.jsonl"] = as_lines(chosen["target"])
    files["membership.json"] = json.dumps(members, ensure_ascii=False, sort_keys=True) + "\n"
    return dict(sorted(files.items()))


def stray(target: Path, files: dict[str, str]) -> list[Path]:
    """Data files under the target that the mirror does not have."""
    return [p for p in sorted(target.rglob("*.jsonl")) if p.relative_to(target).as_posix() not in files]


def differences(target: Path, files: dict[str, str]) -> list[str]:
    """The files that are missing, stray or not as they would be written."""
    wrong = [path.relative_to(target).as_posix() for path in stray(target, files)]
    for name, text in files.items():
        path = target / name
        if not path.is_file() or path.read_bytes() != text.encode():
            wrong.append(name)
    return sorted(wrong)


def write(target: Path, files: dict[str, str]) -> None:
    """Write every file and take away the strays."""
    for path in stray(target, files):
        path.unlink()
    for name, text in files.items():
        path = target / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode())


def main(argv: list[str] | None = None) -> int:
    """Write or check the mirror."""
    parser = argparse.ArgumentParser(description="Write the bundled suite into harness_tasks/bundled.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if the files differ")
    parser.add_argument("--source", type=Path, default=HERE, help="folder with nli/ and copa/")
    parser.add_argument("--target", type=Path, default=TARGET, help="folder of the mirror")
    parser.add_argument("--classify", metavar="MIRROR", help=f"write {HARD}; MIRROR has XNLI and MNLI")
    args = parser.parse_args(argv)
    try:
        if args.classify:
            classify(args.source, args.classify)
        files = mirror(args.source)
    except (SuiteError, OSError, UnicodeDecodeError) as error:
        print(f"build.py: {error}", file=sys.stderr)
        return 2
    if args.check:
        wrong = differences(args.target, files)
        for name in wrong:
            print(f"differs: {name}")
        return 1 if wrong else 0
    write(args.target, files)
    print(f"{len(files)} files written to {args.target}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
