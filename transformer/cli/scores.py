"""The scores of translations as text and as JSON."""

import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformer.evaluation.comparison import SystemScore

Scores = Mapping[str, Mapping[str, "SystemScore"]]  # by metric, and then by system; "" is a system without a name

_TESTS = {"bs": "paired bootstrap resampling", "ar": "approximate randomization"}


def as_json(scores: Scores, references: int, paired: str | None) -> str:
    """Returns one line: an object by metric, or for systems with names, an object by system of objects by metric."""
    systems = list(next(iter(scores.values())))
    by_system = {
        system: {metric: _fields(of_systems[system]) for metric, of_systems in scores.items()} for system in systems
    }
    if systems == [""]:
        return json.dumps(by_system[""]) + "\n"
    test = {"paired": paired, "baseline": systems[0]} if paired else {}
    return json.dumps({"references": references, **test, "systems": by_system}) + "\n"


def _fields(score: "SystemScore") -> dict[str, Any]:
    fields: dict[str, Any] = {"score": score.value, "signature": score.signature}
    if score.reason:
        fields["reason"] = score.reason
    if score.mean is not None:
        fields["confidence"] = {"mean": score.mean, "margin": score.margin}
    if score.p_value is not None:
        fields["p_value"] = score.p_value
    if score.sentences:
        fields["sentences"] = {"signature": score.sentence_signature, "scores": list(score.sentences)}
    return fields


def as_text(scores: Scores, paired: str | None) -> str:
    """Returns the scores, their signatures, and a table of the scores of sentences if there are any."""
    computed = {metric: by_system for metric, by_system in scores.items() if not next(iter(by_system.values())).reason}
    if not computed:
        return ""
    systems = list(next(iter(computed.values())))
    lines = list(_corpus_lines(computed, systems))
    firsts = {metric: by_system[systems[0]] for metric, by_system in computed.items()}
    lines += [f"{metric} signature: {first.signature}" for metric, first in firsts.items()]
    if paired:
        lines.append(f"p: {_TESTS[paired]} against {systems[0]}")
    if any(first.mean is not None for first in firsts.values()):
        lines.append("in parentheses: mean of the resamples ± half of the 95% confidence interval")
    if any(first.sentences for first in firsts.values()):
        lines += _sentence_lines(computed, systems)
    return "".join(f"{line}\n" for line in lines)


def _corpus_lines(scores: Scores, systems: list[str]) -> Iterator[str]:
    if systems == [""]:
        for metric, by_system in scores.items():
            yield f"{metric} {_cell(by_system[''])}"
        return
    rows = [["system", *scores]]
    rows += [[system, *(_cell(by_system[system]) for by_system in scores.values())] for system in systems]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def _cell(score: "SystemScore") -> str:
    interval = "" if score.mean is None else f" ({score.mean:.1f} ± {score.margin:.1f})"
    return f"{score.value:.1f}{interval}" + ("" if score.p_value is None else f" p = {score.p_value:.4f}")


def _sentence_lines(scores: Scores, systems: list[str]) -> Iterator[str]:
    """Yields a table with tabs, with a line for each sentence of each system."""
    named = systems != [""]
    for metric, by_system in scores.items():
        yield f"{metric} of sentences signature: {by_system[systems[0]].sentence_signature}"
    yield "\t".join(["line", *(["system"] if named else []), *scores])
    for number in range(len(next(iter(scores.values()))[systems[0]].sentences)):
        for system in systems:
            values = (f"{by_system[system].sentences[number]:.2f}" for by_system in scores.values())
            yield "\t".join([str(number + 1), *([system] if named else []), *values])
