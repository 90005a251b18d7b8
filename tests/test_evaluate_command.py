"""evaluate: several systems and references, tests, intervals and sentences, equal to sacreBLEU's own command."""

import json
import os
import random
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from calling import Caller
from transformer.data.clauses import clauses
from transformer.evaluation.comparison import MAX_RESAMPLED_LINES

FLAGS = {"BLEU": "bleu", "chrF2": "chrf", "chrF2++": "chrf++", "TER": "ter"}
NAMES = {"BLEU": "BLEU", "chrF2": "chrF", "chrF2++": "chrF++", "TER": "TER"}


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """r1.fi and r2.fi, references (the language does not matter); base, new and short, translations."""
    rng = random.Random(4)
    lines = [german for _, german in clauses("test", 40)]
    texts = {"r1.fi": lines, "r2.fi": [line.upper() if rng.random() < 0.1 else line for line in lines]}
    for name, keep in (("base", 0.75), ("new", 0.95)):
        texts[name] = [" ".join(word for word in line.split() if rng.random() < keep) for line in lines]
    texts["short"] = lines[:7]
    for name, content in texts.items():
        (tmp_path / name).write_text("".join(f"{line}\n" for line in content), encoding="utf8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def sacrebleu(*words: str) -> Any:
    command = [sys.executable, "-m", "sacrebleu", *words]
    environment = {**os.environ, "NO_COLOR": "1", "SACREBLEU_FORMAT": "text" if "-f" in words else "json"}
    shown = subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout
    return shown if "-f" in words else json.loads(shown)


def test_several_references_and_intervals_are_those_of_sacrebleu(files: Path, call: Caller) -> None:
    words = ["--reference", "r1.fi", "--reference", "r2.fi", "--confidence", "--format", "json"]
    ours = json.loads(call("evaluate", "--hypothesis", "base", *words).out)
    theirs = sacrebleu("r1.fi", "r2.fi", "-i", "base", "-m", "bleu", "chrf", "ter", "--confidence", "-w", "6")
    assert len(theirs) == 3
    for one in theirs:
        found = ours[NAMES[one["name"]]]
        assert "nrefs:2|" in found["signature"] and found["signature"] == one["signature"]
        values = found["score"], found["confidence"]["mean"], found["confidence"]["margin"]
        assert values == pytest.approx((one["score"], one["confidence_mean"], one["confidence_var"]), abs=1e-5)


def test_the_order_of_references_changes_nothing_and_the_first_counts_too(files: Path, call: Caller) -> None:
    one, other = ["--reference", "r1.fi"], ["--reference", "new"]
    both = [call("evaluate", "--hypothesis", "base", *words).out for words in (one + other, other + one)]
    alone = [call("evaluate", "--hypothesis", "base", *words).out for words in (one, other)]
    assert both[0] == both[1] and both[0] not in alone


@pytest.mark.parametrize("test", ["bs", "ar"])
def test_paired_tests_are_those_of_sacrebleu(test: str, files: Path, call: Caller) -> None:
    systems = ["--system", "a=base", "--system", "b c=new", "--reference", "r1.fi"]
    words = ["--paired", test, "--metrics", "bleu", "chrf", "--format", "json"]
    ours = json.loads(call("evaluate", *systems, *words).out)
    theirs = sacrebleu("r1.fi", "-i", "base", "new", "-m", "bleu", "chrf", f"--paired-{test}", "-w", "4", "-f", "text")
    assert (ours["baseline"], ours["paired"], ours["references"]) == ("a", test, 1)
    assert list(ours["systems"]) == ["a", "b c"]
    for metric in ("BLEU", "chrF"):
        assert "p_value" not in ours["systems"]["a"][metric]
        assert f"{ours['systems']['a'][metric]['score']:.4f}" in theirs
        assert f"{ours['systems']['b c'][metric]['score']:.4f}" in theirs
        assert f"(p = {ours['systems']['b c'][metric]['p_value']:.4f})" in theirs
        assert f"|{test}:" in ours["systems"]["a"][metric]["signature"]


def test_systems_are_in_one_table(files: Path, call: Caller) -> None:
    words = ["--system", "a=base", "--system", "newer=new", "--reference", "r1.fi", "--metrics", "bleu", "chrf++"]
    lines = call("evaluate", *words).out.decode().splitlines()
    assert lines[0].split() == ["system", "BLEU", "chrF++"]
    assert [line.split()[0] for line in lines[1:3]] == ["a", "newer"]
    each = [call("evaluate", "--hypothesis", name, *words[4:]).out.decode().splitlines() for name in ("base", "new")]
    assert [line.split()[1:] for line in lines[1:3]] == [[line.split()[1] for line in one[:2]] for one in each]
    assert lines[3:] == each[0][2:]  # signatures


def test_sentences_are_those_of_sacrebleu(files: Path, call: Caller) -> None:
    words = ["--hypothesis", "base", "--reference", "r1.fi", "--reference", "r2.fi", "--sentences"]
    flags = ["--metrics", "bleu", "chrf", "chrf++", "ter"]
    ours = json.loads(call("evaluate", *words, *flags, "--format", "json").out)
    text = call("evaluate", *words, *flags).out.decode().splitlines()
    start = text.index("line\tBLEU\tchrF\tchrF++\tTER")
    rows = [[float(value) for value in line.split("\t")] for line in text[start + 1 :]]
    assert [row[0] for row in rows] == list(range(1, 41))
    for column, (name, flag) in enumerate(FLAGS.items(), 1):
        extra = ["--chrf-word-order", "2"] if flag == "chrf++" else []
        shown = sacrebleu(
            "r1.fi", "r2.fi", "-i", "base", "-m", flag.rstrip("+"), "-sl", "-w", "6", "-f", "text", *extra
        )
        theirs = [float(line.split(" = ")[1].split()[0]) for line in shown.splitlines()]
        found = ours[NAMES[name]]["sentences"]
        assert found["scores"] == pytest.approx(theirs, abs=1e-5)
        assert found["signature"] in shown
        assert [row[column] for row in rows] == pytest.approx(theirs, abs=0.0051)


def test_one_system_without_new_flags_is_shown_as_before(files: Path, call: Caller) -> None:
    shown = call("evaluate", "--hypothesis", "new", "--reference", "r1.fi").out.decode()
    score, name = r"{} \d+\.\d\n", r"{} signature: nrefs:1\|[^\n]*version:[^\n]*\n"
    metrics = ("BLEU", "chrF", "TER")
    assert re.fullmatch("".join([*map(score.format, metrics), *map(name.format, metrics)]), shown)
    values = json.loads(call("evaluate", "--hypothesis", "new", "--reference", "r1.fi", "--format", "json").out)
    assert [(metric, *fields) for metric, fields in values.items()] == [
        (name, "score", "signature") for name in metrics
    ]


@pytest.mark.fault("X29")
@pytest.mark.parametrize(
    "words",
    [
        ["--hypothesis", "short", "--reference", "r1.fi"],
        ["--hypothesis", "base", "--reference", "r1.fi", "--reference", "short"],
        ["--system", "a=base", "--system", "b=short", "--reference", "r1.fi", "--paired", "bs"],
    ],
)
def test_files_of_other_lengths_are_named_with_their_counts(files: Path, call: Caller, words: list[str]) -> None:
    error = call.fails(3, "evaluate", *words)
    assert "short has 7 lines" in error and "r1.fi has 40" in error


@pytest.mark.fault("X29")
@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--hypothesis", "base", "--hypothesis", "new"], "--hypothesis new"),
        (["--system", "a=base", "--system", "a=new"], "--system a"),
        (["--system", "base"], "NAME=FILE"),
        (["--system", "a="], "NAME=FILE"),
        (["--system", "a=~no-such-user/base"], "~no-such-user"),
        (["--system", "a=base", "--hypothesis", "new"], "give either"),
        (["--system", "a=base", "--source", "new"], "--source"),
        (["--system", "a=base", "--paired", "ar"], "--paired ar"),
        (["--hypothesis", "base", "--paired", "bs"], "--paired bs"),
        (["--system", "a=-", "--system", "b=-"], "stdin"),
        (["--hypothesis", "base", "--metrics", "bleurt"], "bleurt"),
        (["--hypothesis", "base", "--tokenize", "flores200"], "flores200"),
        (["--hypothesis", "base", "--reference", "base.km"], "--target-language"),
    ],
)
def test_flags_that_do_not_fit_are_refused(files: Path, call: Caller, words: list[str], named: str) -> None:
    assert named in call.fails(2, "evaluate", *words, "--reference", "r1.fi")


def test_a_seed_that_is_no_number_is_refused(files: Path, call: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SACREBLEU_SEED", "-1")
    assert "SACREBLEU_SEED=-1" in call.fails(2, "evaluate", "--hypothesis", "base", "--reference", "r1.fi")


def test_nothing_is_resampled_beyond_what_memory_holds(files: Path, call: Caller) -> None:
    (files / "many").write_text("a\n" * (MAX_RESAMPLED_LINES + 1))
    words = ["--hypothesis", "many", "--reference", "many", "--confidence"]
    assert f"many has {MAX_RESAMPLED_LINES + 1} lines" in call.fails(3, "evaluate", *words)


@pytest.mark.parametrize(
    ("suffix", "flags", "tokenizer"),
    [
        ("zho_Hant", [], "zh"),
        ("lo", [], "char"),
        ("txt", [], "13a"),
        ("txt", ["--target-language", "my_MM"], "char"),
        ("lo", ["--target-language", "sv"], "13a"),
        ("bo", ["--tokenize", "none"], "none"),
    ],
)
def test_the_reference_or_a_flag_chooses_the_tokenizer(
    files: Path, call: Caller, suffix: str, flags: list[str], tokenizer: str
) -> None:
    (files / f"ref.{suffix}").write_bytes((files / "r1.fi").read_bytes())
    shown = call("evaluate", "--hypothesis", "base", "--reference", f"ref.{suffix}", *flags, "--metrics", "bleu")
    assert f"|tok:{tokenizer}|" in shown.out.decode()


# The time of TER


def words_of(count: int, kinds: int, seed: int) -> str:
    return " ".join(f"w{number}" for number in random.Random(seed).choices(range(kinds), k=count))


@pytest.mark.fault("X30")
@pytest.mark.parametrize("kind", ["one long line", "identical long lines", "many lines"])
def test_ter_that_takes_too_long_is_left_out(kind: str, files: Path, call: Caller, caplog: Any) -> None:
    hypotheses, references = {
        "one long line": (["a", words_of(700, 90, 1)], ["a", words_of(800, 90, 2)]),
        "identical long lines": (["a", words_of(9000, 90, 1)], ["a", words_of(9000, 90, 1)]),
        "many lines": ([words_of(60, 9, n) for n in range(300)], [words_of(60, 9, -n) for n in range(1, 301)]),
    }[kind]
    (files / "hyp").write_text("".join(f"{line}\n" for line in hypotheses))
    (files / "ref").write_text("".join(f"{line}\n" for line in references))
    began = time.process_time()
    words = ["--hypothesis", "hyp", "--reference", "ref"]
    found = json.loads(call("evaluate", *words, "--format", "json").out)
    assert time.process_time() - began < 10
    assert found["TER"]["score"] is None and found["TER"]["reason"] and found["BLEU"]["score"] > 0
    notices = [message for message in caplog.messages if message.startswith("TER ")]
    assert len(notices) == 1 and found["TER"]["reason"] in notices[0]
    assert (kind == "many lines") != ("line 2 " in notices[0])
    assert "TER" not in call("evaluate", *words).out.decode()


def test_ter_of_usual_lines_is_computed(files: Path, call: Caller) -> None:
    (files / "hyp").write_text("".join(f"{words_of(50, 400, n)}\n" for n in range(5)))
    (files / "ref").write_text("".join(f"{words_of(50, 400, n + 9)}\n" for n in range(5)))
    assert "TER 9" in call("evaluate", "--hypothesis", "hyp", "--reference", "ref", "--metrics", "ter").out.decode()
