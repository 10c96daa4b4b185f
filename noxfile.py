"""This module is what a developer runs: tests, lint, types, the published audit, and the benchmark."""

from __future__ import annotations

from pathlib import Path

import nox

nox.options.sessions = ["lint", "types", "tests"]
nox.options.reuse_existing_virtualenvs = True

VERSION = "1.0.31"
"""The timm whose run is published; `[test]` pins it."""


@nox.session
def tests(session: nox.Session) -> None:
    """Run the project's own tests and decide the core tier; arguments go to pytest."""
    session.install("-e", ".[test]")
    session.run("pytest", "-n", "auto", *session.posargs)


@nox.session
def lint(session: nox.Session) -> None:
    """Check rules and format."""
    session.install("ruff>=0.11")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session
def types(session: nox.Session) -> None:
    """Check types."""
    session.install("-e", ".[test,dev]")
    session.run("mypy")


@nox.session
def audit(session: nox.Session) -> None:
    """Decide the full tier of every model anew and publish records and page; arguments go to the audit."""
    session.install("-e", ".[test]")
    records, page = (Path("reports", f"timm-{VERSION}{suffix}") for suffix in (".jsonl.gz", ".html"))
    # 1: something was found that is not expected; the run is whole all the same.
    session.run(
        "timm-conformance", "audit", "--tier", "full", "--output", str(records), *session.posargs, success_codes=[0, 1]
    )
    earlier = [f"--since={file}" for file in Path("reports").glob("timm-*.jsonl.gz") if file != records]
    session.run("timm-conformance", "report", str(records), *earlier, "--output", str(page))
    session.run("python", "-m", "conformance.run.expected", str(records), str(records))  # times, and memory
    session.run("python", "-m", "conformance.report.findings", str(records), f"reports/FINDINGS-{VERSION}.md")


@nox.session
def bench(session: nox.Session) -> None:
    """Measure start-up, report, and the core tier on a sample; arguments go to benchmarks/bench.py."""
    session.install("-e", ".[test]")
    session.run("python", "benchmarks/bench.py", *session.posargs)


@nox.session
def agreement(session: nox.Session) -> None:
    """Decide 300 models both by proof and on real numbers; arguments go to benchmarks/agreement.py."""
    session.install("-e", ".[test]")
    session.run("python", "benchmarks/agreement.py", *session.posargs)


@nox.session
def layouts(session: nox.Session) -> None:
    """Hold what is believed of how results lie in memory against each operator that torch samples for its own tests."""
    session.install("-e", ".[test]", "expecttest")
    session.run("python", "benchmarks/layouts.py")


@nox.session
def soundness(session: nox.Session) -> None:
    """Hold equal numbers against equal bits for many programs, and for each rule alone; arguments go to pytest."""
    session.install("-e", ".[test]")
    tried = {"SOUNDNESS_PROGRAMS": "30000"}
    files = [f"tests/engine/test_{name}.py" for name in ("soundness", "captured_soundness", "rules_attacked")]
    session.run("pytest", "-s", *files, *session.posargs, env=tried)


@nox.session
def mutation(session: nox.Session) -> None:
    """Decide every mutant of every lawful shape, all claims of each; arguments go to pytest."""
    session.install("-e", ".[test]")
    session.run("pytest", "-n", "auto", "tests/mutation", *session.posargs, env={"MUTATION_ALL": "1"})


@nox.session
def coverage(session: nox.Session) -> None:
    """Report the lines and branches that the project's own tests run, children included; arguments go to pytest."""
    session.install("-e", ".[test]", "coverage>=7.10")
    Path(".coverage").mkdir(exist_ok=True)
    session.run("coverage", "run", "-m", "pytest", "-n", "auto", *(session.posargs or ["tests"]))
    session.run("coverage", "combine")
    session.run("coverage", "report", "--skip-covered")


@nox.session
def fuzz(session: nox.Session) -> None:
    """Attack every surface with many hostile inputs, other ones at each run; arguments go to pytest."""
    session.install("-e", ".[test]")
    session.run("pytest", "-n", "auto", "tests/hostile", *session.posargs, env={"FUZZ_EXAMPLES": "2000"})
