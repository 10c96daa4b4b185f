"""What was decided of a release is kept for the next comparison, and taken only where nothing can have changed it."""

from __future__ import annotations

import pytest

from conformance.record import Cell, ClaimEntry, Evidence, Header, Level, Record, Tier, Verdict
from conformance.release import Surface
from conformance.run import kept, wheels
from conformance.run.kept import Kept, run_of
from conformance.run.wheels import Release
from tests.run.releases import write_wheel

VERSION = "9.9.1"
HOLDS = Cell(verdict=Verdict.HOLDS, evidence=Evidence.PROVED)
UNDECIDED = Cell(verdict=Verdict.UNDECIDED, reason="out of memory", cause="c")
CLAIM = ClaimEntry(id="builds", text="It builds.", group="head", level=Level.MUST, tier=Tier.CORE)
HEADER = Header(
    suite="1", timm=VERSION, torch="2", python="3", tier=Tier.CORE, started="", subjects=0, claims=(CLAIM,)
)  # fmt: skip


def run(**cells):
    return run_of(HEADER, [Record(model=model, cells={"builds": cell}) for model, cell in cells.items()])


@pytest.fixture
def release(monkeypatch, tmp_path):
    """A release that was fetched into a cache."""
    write_wheel(tmp_path / "index", VERSION)
    monkeypatch.setenv(wheels.CACHE, str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
    monkeypatch.delenv("PYTHONPATH", raising=False)
    return wheels.release(VERSION)


def known(release):
    found = Kept(release).run()
    return None if found is None else [record.model for record in found.records]


def test_records_are_kept_and_others_added_to_them(release):
    assert known(release) is None
    Kept(release).keep(run(b=HOLDS))
    Kept(release).keep(run(a=HOLDS))
    assert known(release) == ["a", "b"]
    assert Kept(release).run() == run(a=HOLDS, b=HOLDS)
    assert [file.name for file in (wheels.cache() / "decided").iterdir()] == [Kept(release)._runs.name]


def test_what_was_undecided_is_decided_again(release):
    Kept(release).keep(run(a=HOLDS, b=UNDECIDED))
    assert known(release) == ["a"]


def test_nothing_undecided_makes_a_file(release):
    Kept(release).keep(run(b=UNDECIDED))
    assert not (wheels.cache() / "decided").exists()


@pytest.mark.parametrize("variable", ["TIMM_FUSED_ATTN", "ATEN_CPU_CAPABILITY", "PYTHONHASHSEED"])
def test_another_environment_knows_nothing(release, monkeypatch, variable):
    Kept(release).keep(run(a=HOLDS))
    monkeypatch.setenv(variable, "other")
    assert known(release) is None


def test_another_suite_knows_nothing(release, monkeypatch):
    Kept(release).keep(run(a=HOLDS))
    monkeypatch.setattr(kept, "suite_files", lambda: ["claims/head.py with another bound"])
    assert known(release) is None


def test_another_library_knows_nothing(release, monkeypatch):
    Kept(release).keep(run(a=HOLDS))
    monkeypatch.setattr(kept, "distributions", lambda: ())
    assert known(release) is None


def test_nothing_is_kept_of_a_release_that_was_changed_by_hand(release):
    Kept(release).keep(run(a=HOLDS))
    (release.path / "timm" / "__init__.py").write_text("__version__ = '9.9.1'\nchanged = True\n")
    assert known(release) is None
    Kept(release).keep(run(b=HOLDS))
    assert len(list((wheels.cache() / "decided").iterdir())) == 1


def test_nothing_is_kept_where_anything_may_come_before_the_libraries(release, monkeypatch, tmp_path):
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    Kept(release).keep(run(a=HOLDS))
    assert not (wheels.cache() / "decided").exists()


def test_what_a_release_says_of_models_is_kept_likewise(release):
    seen, unseen = Surface(model="a", constructor={"eps": "1e-05"}), Surface(model="b", problem="its process ended")
    Kept(release).keep_surfaces({"a": seen, "b": unseen})
    Kept(release).keep_surfaces({"c": seen})
    assert Kept(release).surfaces() == {"a": seen, "c": seen}
    Kept(release)._surfaces.write_bytes(b"[")
    assert Kept(release).surfaces() == {}


@pytest.mark.parametrize("damage", [lambda text: text[:-9], lambda text: b"", lambda text: b"\xff" + text])
def test_a_damaged_file_is_as_good_as_none(release, damage):
    Kept(release).keep(run(a=HOLDS))
    file = Kept(release)._runs
    file.write_bytes(damage(file.read_bytes()))
    assert known(release) is None
    Kept(release).keep(run(a=HOLDS))
    assert known(release) == ["a"]


def test_a_cache_that_cannot_be_written_to_keeps_nothing(release):
    (wheels.cache() / "decided").write_text("")
    Kept(release).keep(run(a=HOLDS))
    assert known(release) is None


def test_the_environments_own_timm_is_vouched_for_by_the_list_of_its_wheel():
    own = wheels.release(wheels.INSTALLED)
    assert own.path is None
    assert own.digest() is not None
    assert Release("0.0.1", None).digest() is None
