"""What a dead worker says of a subject: the ledger, the black box and the traces that faulthandler leaves."""

import signal

import pytest

from conformance.run import blackbox
from conformance.run.crashes import GAVE_UP, Death, Ledger, Reader, autopsy

SEGV = Death(status=-signal.SIGSEGV)
KILL = Death(status=-signal.SIGKILL)


def settled(tmp_path, *deaths):
    ledger = Ledger(tmp_path, timeout=300)
    for death in deaths:
        ledger.enter("model", "claim", death, is_claim=True)
    return Reader(tmp_path).entry("model").cells.get("claim")


@pytest.mark.parametrize("name", ["SIGSEGV", "SIGABRT", "SIGBUS", "SIGFPE", "SIGILL"])
def test_a_fault_that_repeats_is_a_violation_that_names_its_signal(tmp_path, name):
    cell = settled(tmp_path, *[Death(status=-signal.Signals[name])] * 2)
    assert (cell.verdict, cell.evidence) == ("violated", "observed")
    assert f"killed its process by {name}, and again in a fresh process" in cell.reason
    assert cell.cause


@pytest.mark.parametrize(
    ("deaths", "words"),
    [
        ([KILL, KILL], "SIGKILL"),
        ([SEGV, KILL], "by SIGSEGV, and in a fresh process had its process killed"),
        ([KILL, SEGV], "in a fresh process killed its process by SIGSEGV"),
        ([Death(status=3)] * 2, "exit status 3"),
        ([Death(status=None)] * 2, "lost its process"),
        ([Death(status=1, timed_out=True, where="forward of timm/models/a.py")] * 2, "300 s in forward of timm"),
        ([Death(status=GAVE_UP, note="raised SystemExit(3)")] * 2, "raised SystemExit(3)"),
        ([Death(status=-40)] * 2, "signal 40"),
    ],
)
def test_every_other_death_decides_nothing(tmp_path, deaths, words):
    cell = settled(tmp_path, *deaths)
    assert cell.verdict == "undecided"
    assert words in cell.reason


def test_one_death_settles_nothing(tmp_path):
    assert settled(tmp_path, SEGV) is None
    entry = Reader(tmp_path).entry("model")
    assert entry.deaths == {"claim": [SEGV]}
    assert not entry.is_settled("claim")


def test_a_reader_sees_what_was_entered_after_it_began(tmp_path):
    reader, ledger = Reader(tmp_path), Ledger(tmp_path, timeout=1)
    assert not reader.entry("model").deaths
    for deaths in (1, 2):
        ledger.enter("model", blackbox.DESCRIBING, KILL, is_claim=False)
        assert len(reader.entry("model").deaths[blackbox.DESCRIBING]) == deaths
    assert reader.entry("model").is_settled(blackbox.DESCRIBING)
    assert not reader.entry("model").cells


def test_a_shorter_entry_hides_the_longer_one_before_it(tmp_path):
    box = blackbox.BlackBox(tmp_path, "gw0")
    assert blackbox.last_entry(tmp_path, "gw0").step == blackbox.STARTING
    box.note(blackbox.Entry(step="a_claim_with_a_long_name", model="m" * 300))
    box.note(blackbox.Entry(step="b"))
    assert blackbox.last_entry(tmp_path, "gw0") == blackbox.Entry(step="b")


def test_a_worker_that_left_nothing_was_starting(tmp_path):
    assert blackbox.last_entry(tmp_path, "gw7").step == blackbox.STARTING
    assert autopsy(tmp_path, "gw7", -11) == Death(status=-11)


TRACE = """Timeout (0:05:00)!
Thread 0x00007f01 (most recent call first):
  File "/env/lib/python3.11/site-packages/execnet/gateway_base.py", line 534 in read

Current thread 0x00007f02 (most recent call first):
  File "/env/lib/python3.11/site-packages/torch/nn/functional.py", line 12 in conv2d
  File "/env/lib/python3.11/site-packages/timm/layers/attention.py", line 77 in forward
  File "{harness}", line 90 in _settled
"""


def test_the_place_of_a_death_is_the_innermost_frame_of_the_model(tmp_path):
    trace = TRACE.format(harness=blackbox.__file__.replace("blackbox", "examiner"))
    assert blackbox.where(trace) == "forward of timm/layers/attention.py"
    (tmp_path / "gw0.trace").write_text(trace)
    assert autopsy(tmp_path, "gw0", 1).timed_out
    assert not autopsy(tmp_path, "gw0", -11).timed_out


@pytest.mark.parametrize("trace", ["", "Fatal Python error: Aborted\n", "Thread 0x1 (most recent call first):\n"])
def test_a_trace_without_the_model_names_no_place(trace):
    assert blackbox.where(trace) is None
