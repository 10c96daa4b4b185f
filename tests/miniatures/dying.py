"""Registered models that end, block or confuse the process that builds or runs them, and lawful ones beside them."""

import ctypes
import faulthandler
import os
import re
import signal
import sys
import time
from pathlib import Path

import psutil
from timm.models import register_model
from torch import nn


class Tiny(nn.Module):
    """Keeps the contract as far as the claims that are decided here look."""

    def __init__(self, num_classes=10, in_chans=3, hidden=8, **_):
        super().__init__()
        self.num_classes = num_classes
        self.num_features = 8
        self.head_hidden_size = hidden
        self.pretrained_cfg = self.default_cfg = {"input_size": (3, 8, 8), "num_classes": 10, "classifier": "fc"}
        self.conv = nn.Conv2d(in_chans, 8, 1)
        self.wide = nn.Linear(8, hidden) if hidden != 8 else nn.Identity()
        self.fc = nn.Linear(hidden, num_classes) if num_classes else nn.Identity()

    def get_classifier(self):
        return self.fc

    def reset_classifier(self, num_classes, global_pool=None):
        self.num_classes = num_classes
        self.fc = nn.Linear(self.head_hidden_size, num_classes) if num_classes else nn.Identity()

    def forward_features(self, x):
        return self.conv(x)

    def forward_head(self, x, pre_logits: bool = False):
        x = self.wide(x.mean((2, 3)))
        return x if pre_logits else self.fc(x)

    def forward(self, x):
        return self.forward_head(self.forward_features(x))


def _lawful(kwargs):
    return Tiny(**{key: value for key, value in kwargs.items() if not key.startswith("pretrained")})


def _registered(name, model):
    def entry(pretrained=False, **kwargs):
        return model(kwargs)

    entry.__name__ = entry.__qualname__ = name
    entry.__module__ = __name__
    globals()[name] = entry
    register_model(entry)


def dies_in_forward(deed):
    """A model whose build is lawful and whose forward_features does `deed`."""

    class Dying(Tiny):
        def forward_features(self, x):
            deed()
            return super().forward_features(x)

    return lambda kwargs: Dying(**{key: value for key, value in kwargs.items() if not key.startswith("pretrained")})


def dies_in_build(deed):
    """A model that does `deed` when it is built."""

    def build(kwargs):
        deed()
        return _lawful(kwargs)

    return build


def segfault():
    ctypes.string_at(0)


def spin():
    while True:
        pass


def block_holding_the_gil():
    ctypes.PyDLL(None).sleep(1000)


def backtrack():
    re.match(r"(a+)+$", "a" * 60 + "b")


def raise_hostile_text():
    raise RuntimeError("lone \ud800, null \x00, red \x1b[31m, huge " + "x" * 1_000_000)


def kill_itself():
    os.kill(os.getpid(), signal.SIGKILL)


def allocate():
    # More than any limit, and yet granted without one: nothing is touched.
    bytearray(64 << 30)


def raises(error):
    def deed():
        raise error

    return deed


def die_the_first_time():
    mark = Path(os.environ["DYING_MARK"])
    if not mark.exists():
        mark.touch()
        segfault()


def kill_the_process_of_ray():
    """On a cluster, what runs this audit; elsewhere nothing."""
    for process in psutil.Process().parents():
        if process.cmdline()[:1] and process.cmdline()[0].startswith("ray::"):
            process.kill()
            time.sleep(60)


def stop_the_watch_and_spin():
    faulthandler.cancel_dump_traceback_later()
    spin()


def dawdle():
    time.sleep(float(os.environ.get("DYING_SECONDS", "0")))


_registered("dying_segfault_in_build", dies_in_build(segfault))
_registered("dying_segfault_in_forward", dies_in_forward(segfault))
_registered("dying_kill_in_build", dies_in_build(kill_itself))
_registered("dying_os_exit_in_forward", dies_in_forward(lambda: os._exit(3)))
_registered("dying_sys_exit_in_build", dies_in_build(lambda: sys.exit("enough")))
_registered("dying_memory_in_forward", dies_in_forward(allocate))
_registered("dying_python_hang_in_forward", dies_in_forward(spin))
_registered("dying_gil_hang_in_build", dies_in_build(block_holding_the_gil))
_registered("dying_regex_hang_in_build", dies_in_build(backtrack))
_registered("dying_hostile_text_in_build", dies_in_build(raise_hostile_text))
_registered("dying_interrupt_in_build", dies_in_build(raises(KeyboardInterrupt())))
_registered("dying_interrupting_in_forward", dies_in_forward(lambda: os.kill(os.getpid(), signal.SIGINT)))
_registered("dying_unwatched_hang_in_forward", dies_in_forward(stop_the_watch_and_spin))
_registered("dying_stopped_process_in_forward", dies_in_forward(lambda: os.kill(os.getpid(), signal.SIGSTOP)))
_registered("dying_only_once_in_build", dies_in_build(die_the_first_time))
_registered("lawful_tiny_a", _lawful)
_registered("lawful_tiny_b", _lawful)
_registered("lawful_tiny_z_slow", dies_in_build(dawdle))
_registered("unlucky_on_a_cluster", dies_in_build(kill_the_process_of_ray))
_registered("wide_tiny", lambda kwargs: _lawful(kwargs | {"hidden": 16}))
