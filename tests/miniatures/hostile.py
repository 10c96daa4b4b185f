"""Models as an attacker would register them: what they raise, are called, say of themselves and are named.

One of them, `zz_calm`, is lawful: what stands beside it changes nothing of its verdicts.
"""

from __future__ import annotations

from timm.models import register_model
from torch import nn

ATTACK = (
    "\x1b]0;owned\x07\x1b[31m\u202e</script><script>window.owned=1</script>"
    "{{7*7}}%s{0.__class__}|`::error::x\n::error::y"
)


class Calm(nn.Module):
    """A lawful model."""

    def __init__(self, num_classes=10, **_):
        super().__init__()
        self.num_classes, self.num_features, self.head_hidden_size = num_classes, 4, 4
        self.conv = nn.Conv2d(3, 4, 3)
        self.fc = nn.Linear(4, num_classes) if num_classes else nn.Identity()
        self.default_cfg = self.pretrained_cfg = {"input_size": (3, 32, 32), "classifier": "fc"}

    def forward_features(self, x):
        return self.conv(x)

    def forward_head(self, x, pre_logits=False):
        x = x.mean((2, 3))
        return x if pre_logits else self.fc(x)

    def forward(self, x):
        return self.forward_head(self.forward_features(x))


class Endless(Exception):
    """What shows it is in itself."""

    def __init__(self):
        super().__init__(ATTACK)
        self.witness = {}
        self.witness["itself"] = self.witness


class Unsayable(Exception):
    """Its message, its notes and what shows it raise."""

    def __str__(self):
        raise ValueError(ATTACK)

    __repr__ = __str__

    @property
    def __notes__(self):
        raise RuntimeError(ATTACK)

    @property
    def witness(self):
        raise RuntimeError(ATTACK)


class Text(str):
    """A text that is a number where it is sliced."""

    def __getitem__(self, key):
        return 3


class Odd(Exception):
    """Its message is no plain text."""

    def __str__(self):
        return Text("odd\ud800")


def raising(error):
    class Raising(Calm):
        def forward_features(self, x):
            raise error()

    return Raising


class Shown(Calm):
    """It cannot be shown."""

    def __repr__(self):
        raise ValueError(ATTACK)

    __str__ = __repr__


class Wide(Calm):
    """Its widths are none."""

    def __init__(self, **options):
        super().__init__(**options)
        self.num_features, self.head_hidden_size = 10**5000, float("nan")


class Sized(Calm):
    """Its images are none."""

    def __init__(self, **options):
        super().__init__(**options)
        self.default_cfg = self.pretrained_cfg = {"input_size": (3, float("nan"), 10**30), "classifier": ATTACK}


MODELS = {
    "zz_calm": Calm,
    "zz_endless": raising(Endless),
    "zz_unsayable": raising(Unsayable),
    "zz_odd": raising(Odd),
    "zz_long": raising(lambda: RuntimeError(ATTACK * 100_000)),
    "zz_surrogates": raising(lambda: RuntimeError(f"\ud800\udfff{ATTACK}")),
    "zz_keys": raising(lambda: KeyError({ATTACK: float("nan")})),
    "zz_named": type("</script>\x1b[31m\u202e|`", (Calm,), {"__module__": "../../x\ud800\x1b"}),
    "zz_shown": Shown,
    "zz_wide": Wide,
    "zz_sized": Sized,
    "zz_../../zz_path": Calm,
    "zz_\x1b[31m\u202e": Calm,
    "zz_\n::error::x": Calm,
    "zz_{0.__class__}%s[red]-builds]": Calm,
    "zz_</script><script>window.owned=1</script>": Calm,
    "-zz_import=zz_owned": Calm,
}


def register(name, made):
    def entry(pretrained=False, **options):
        return made(**{key: value for key, value in options.items() if key == "num_classes"})

    entry.__name__ = name
    entry.__doc__ = ATTACK
    register_model(entry)


for _name, _made in MODELS.items():
    register(_name, _made)
