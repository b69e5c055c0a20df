"""`xpmlp teach`: templates, files of others in a process of their own, and how it ends."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from course_programs import FILLED, filled
from scripts_at_work import run_script

from xpmlp.commands.teach import COURSES
from xpmlp.teach.courses import COURSES as KNOWN, template


def test_the_courses_are_those_that_have_a_template() -> None:
    assert set(COURSES) == set(KNOWN) == set(FILLED)


@pytest.mark.parametrize("course", COURSES)
def test_a_template_is_a_program_that_passes_once_it_is_filled_in(
    course: str, tmp_path: Path
) -> None:
    made = run_script("teach.py", "--new", "mine.py", "--course", course, cwd=tmp_path)
    assert made.returncode == 0, made.stderr
    assert "next: fill in its functions, and type xpmlp teach mine.py" in made.stdout
    file = tmp_path / "mine.py"
    assert file.read_text(encoding="utf-8") == template(course, "mine.py")
    empty = run_script("teach.py", "mine.py", cwd=tmp_path)
    assert empty.returncode == 1
    assert empty.stdout.count("forward is still to be written") == 1
    file.write_text(filled(file.read_text(encoding="utf-8"), course), encoding="utf-8")
    done = run_script("teach.py", "mine.py", "--json", cwd=tmp_path)
    report = json.loads(done.stdout)
    assert (done.returncode, report["findings"]) == (0, [])
    assert len(report["right"]) >= 5
    again = run_script("teach.py", "--new", "mine.py", cwd=tmp_path)
    assert again.returncode == 2
    assert "mine.py is there already" in again.stderr


def test_the_first_slip_and_a_page(tmp_path: Path) -> None:
    text = filled(template("tuebingen-08", "mine.py"), "tuebingen-08")
    (tmp_path / "mine.py").write_text(text.replace(" * h * (1 - h)", ""), encoding="utf-8")
    result = run_script("teach.py", "mine.py", "--html", "page.html", cwd=tmp_path)
    assert result.returncode == 1
    assert "δ of layer 1 is not multiplied by the activation's derivative" in result.stdout
    assert (tmp_path / "page.html").read_text(encoding="utf-8").startswith("<!doctype html>")
    assert "files: page.html" in result.stderr


BROKEN = {
    "a loop without an end": ("while True: pass", "was not done after 2 s"),
    "a syntax error": ("def f(:", "cannot be run (SyntaxError"),
    "an exit": ("raise SystemExit(0)", "cannot be run (SystemExit"),
    "a sudden end": ("import os; os._exit(0)", "ended before it was looked at"),
    "no sizes": ("def forward(params, x): return x", "it says no SIZES"),
    "sizes of nothing": ("SIZES = (3,)\ndef forward(p, x): return x", "need an input, an output"),
    "no functions": ("SIZES = (3, 2)", "there is no function to look at"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_file_that_cannot_be_looked_at(name: str, tmp_path: Path) -> None:
    text, said = BROKEN[name]
    (tmp_path / "mine.py").write_text(text, encoding="utf-8")
    result = run_script("teach.py", "mine.py", "--timeout", "2", cwd=tmp_path)
    assert result.returncode in (2, 3)
    assert said in result.stderr
    assert "Traceback" not in result.stderr
    assert not result.stdout


def test_what_it_has_started_is_ended_too(tmp_path: Path) -> None:
    child = "import time; time.sleep(3); open('late', 'w').close()"
    (tmp_path / "mine.py").write_text(
        f"import subprocess, sys\nsubprocess.Popen([sys.executable, '-c', {child!r}])\n"
        "while True: pass",
        encoding="utf-8",
    )
    result = run_script("teach.py", "mine.py", "--timeout", "1", cwd=tmp_path)
    assert result.returncode == 3
    import time

    time.sleep(3.5)
    assert not (tmp_path / "late").exists()


def test_there_is_no_such_file(tmp_path: Path) -> None:
    assert "nobody.py is no file" in run_script("teach.py", "nobody.py", cwd=tmp_path).stderr
    assert "there is no file to look at" in run_script("teach.py", cwd=tmp_path).stderr
