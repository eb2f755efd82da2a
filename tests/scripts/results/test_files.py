"""The committed files of the published runs belong together and say nothing of a machine."""

import hashlib
import re

import pytest

from scripts.results.runs import RESULTS, read_runs

RUNS = read_runs()


@pytest.mark.parametrize("run", [run for run in RUNS if "moses_bleu" in run.figures], ids=lambda run: run.name)
def test_the_score_over_moses_tokens_is_that_of_the_hypotheses(run):
    hypotheses = (RESULTS / run.name / "test_hypotheses.txt").read_bytes()
    assert hashlib.sha256(hypotheses).hexdigest() == run.figures["moses_bleu"]["hypotheses_sha256"]


@pytest.mark.parametrize("run", RUNS, ids=lambda run: run.name)
def test_the_epochs_are_those_of_the_metrics(run):
    epochs = max(epoch for times, _ in run.lines.values() for epoch in times)
    assert run.record["epochs"] == epochs


@pytest.mark.parametrize("run", RUNS, ids=lambda run: run.name)
def test_no_file_names_a_path_of_a_machine(run):
    for path in (RESULTS / run.name).glob("*.[jy]*"):
        assert not re.search(r"[\"' =]/(?:home|root|tmp|work|mnt|Users)/", path.read_text(encoding="utf-8")), path
