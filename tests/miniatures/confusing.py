"""Registered models that are lawful themselves and leave their process other than they found it, or end it by a fault.

Their names come before those of the lawful models, which have to be decided in what is left.
"""

import atexit
import gc
import mmap
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import threading
import time
import warnings

import torch
from dying import _registered, dies_in_build, dies_in_forward


def read_beyond_the_file():
    """Mapped memory whose file has become shorter: SIGBUS."""
    with tempfile.TemporaryFile() as file:
        file.write(b"x" * mmap.PAGESIZE)
        file.flush()
        mapped = mmap.mmap(file.fileno(), mmap.PAGESIZE)
        file.truncate(0)
        mapped[0]


def ring_later():
    """The alarm comes when another model is decided."""
    signal.setitimer(signal.ITIMER_REAL, 0.01)


def close_standard_streams():
    for descriptor in (0, 1, 2):
        os.close(descriptor)


def stand_nowhere():
    directory = tempfile.mkdtemp()
    os.chdir(directory)
    os.rmdir(directory)


def forget_the_environment():
    os.environ.clear()
    os.environ["TIMM_FUSED_ATTN"] = "0"


def count_in_double():
    torch.set_default_dtype(torch.float64)


def work_on_meta():
    torch.set_default_device("meta")


def never_collect():
    gc.disable()
    gc.set_threshold(1)
    gc.callbacks.append(lambda *_: None)


def ignore_signals():
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM):
        signal.signal(number, signal.SIG_IGN)


def exit_at_the_end():
    atexit.register(os._exit, 9)


def leave_a_thread():
    threading.Thread(target=time.sleep, args=(1000,), name="left behind").start()


def leave_a_child():
    if os.fork() == 0:
        time.sleep(1000)
        os._exit(0)


def leave_a_child_of_its_own_session():
    if os.fork() == 0:
        os.setsid()
        time.sleep(1000)
        os._exit(0)


def differentiate_nothing():
    torch.set_grad_enabled(False)
    torch.use_deterministic_algorithms(True, warn_only=True)


def seed_everything():
    random.seed(0)
    torch.manual_seed(0)


def raise_warnings():
    warnings.simplefilter("error")


def write_to_nowhere():
    sys.stdout = sys.stderr = None


def forget_the_path():
    sys.path.clear()


def leave_scratch():
    shutil.copy(__file__, tempfile.mkdtemp())


def talk():
    print("x" * 3_000_000)


def replace_linear():
    def refuse(*_arguments, **_named):
        raise RuntimeError("this is no linear layer any more")

    torch.nn.functional.linear = refuse


def leave_inference_mode_on():
    mode = torch.inference_mode()
    mode.__enter__()
    globals()["left on"] = mode


def lower_a_limit_for_good():
    resource.setrlimit(resource.RLIMIT_AS, (2**36, 2**36))


def allow_no_recursion():
    sys.setrecursionlimit(300)


_registered("a_fault_abort_in_build", dies_in_build(os.abort))
_registered("a_fault_bus_in_build", dies_in_build(read_beyond_the_file))
_registered("b_alarm_in_forward", dies_in_forward(ring_later))
for _deed in (
    allow_no_recursion, close_standard_streams, count_in_double, differentiate_nothing, exit_at_the_end,
    forget_the_environment, forget_the_path, ignore_signals, leave_a_child, leave_a_child_of_its_own_session,
    leave_a_thread, leave_inference_mode_on, leave_scratch, lower_a_limit_for_good, never_collect, raise_warnings,
    replace_linear,
    seed_everything, stand_nowhere, talk, work_on_meta, write_to_nowhere,
):  # fmt: skip
    _registered(f"confusing_{_deed.__name__}", dies_in_forward(_deed))
