"""Silent without a terminal, a bar with one."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from boxpromptiml.progress import progress_bar, track


def test_yields_everything_and_prints_nothing_without_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(track(range(5), "count")) == [0, 1, 2, 3, 4]
    assert list(track(iter("ab"), "letters", total=2)) == ["a", "b"]
    with progress_bar() as bar:
        bar.advance(bar.add_task("work", total=1))

    output = capsys.readouterr()
    assert output.out == ""
    assert output.err == ""


def test_an_error_inside_the_loop_comes_through() -> None:
    def count_to_two() -> None:
        for i in track(range(5), "count"):
            if i == 2:
                raise KeyError(i)

    with pytest.raises(KeyError):
        count_to_two()


@pytest.mark.skipif(os.name == "nt", reason="pseudo terminals of Unix")
def test_draws_a_bar_on_a_terminal_and_leaves_standard_output_alone() -> None:
    import pty

    program = "from boxpromptiml.progress import track\nfor i in track(range(3), 'looking'): print(i)"
    leader, follower = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100"}
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=follower, env=environment
    ) as process:
        os.close(follower)
        drawn = b""
        while True:
            try:
                block = os.read(leader, 4096)
            except OSError:  # Linux: the other end is closed
                break
            if not block:
                break
            drawn += block
        assert process.stdout is not None
        printed = process.stdout.read()
    os.close(leader)

    assert process.returncode == 0
    assert printed == b"0\n1\n2\n"
    assert b"looking" in drawn
    assert b"3/3" in drawn
