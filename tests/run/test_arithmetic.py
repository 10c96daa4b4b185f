"""Constants are computed alike whatever the processor could do besides."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from conformance.record_file import read_run
from conformance.run.chosen import arithmetic
from conformance.run.local import environment
from tests.run.conftest import lines, run_pytest

PUBLISHED = Path(__file__).parents[2] / "reports" / "timm-1.0.31.jsonl.gz"
only_with_avx2 = pytest.mark.skipif(not arithmetic(), reason="the processor has no AVX2")


def test_the_processor_is_believed_to_have_what_it_has():
    ended = subprocess.run(
        [sys.executable, "-c", "import torch; print(torch.backends.cpu.get_cpu_capability())"],
        env=environment(), capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert (ended.stdout.strip() == "AVX2") == bool(arithmetic())


@only_with_avx2
def test_these_tests_compute_so_too():
    assert torch.backends.cpu.get_cpu_capability() == "AVX2"


@only_with_avx2
@pytest.mark.parametrize(
    ("model", "foreign"),
    [
        ("vit_pe_core_gigantic_patch14_448", {"ATEN_CPU_CAPABILITY": "avx512"}),
        ("vit_pe_core_gigantic_patch14_448", {"ATEN_CPU_CAPABILITY": "default"}),
        ("swinv2_cr_tiny_224", {"MKL_CBWR": "AVX512"}),
        ("swinv2_cr_tiny_224", {"MKL_CBWR": "AUTO"}),
    ],
)
def test_fingerprints_do_not_depend_on_what_the_environment_says_of_the_processor(tmp_path, model, foreign):
    """Rotary embeddings and logarithms of places are constants that kernels for AVX-512 round in another way."""
    ran = run_pytest(
        tmp_path,
        *("--pyargs", "conformance.test_contract", "-n", "1", "--timm-claim=forward_features_runs"),
        *(f"--timm-model={model}", "--timm-output=run.jsonl"),
        **foreign,
    )
    assert ran.returncode == 0, ran.stdout
    (record,) = [line for line in lines(tmp_path / "run.jsonl") if line["kind"] == "record"]
    (known,) = [one for one in read_run(PUBLISHED).records if one.model == record["model"]]
    assert record["fingerprints"] == known.fingerprints
