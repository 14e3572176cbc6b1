"""Every end of a command, in processes of its own with real streams and signals."""

import errno
import os
import re
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from dadnet.base.boundary import BAD_INPUT, END_SIGNALS, INCOMPLETE, as_dadnet_errors, run_command
from dadnet.base.errors import DadnetError, StorageError

COMMAND = """
import sys, time
from pathlib import Path
from dadnet.base.boundary import run_command
def command(words):
    {body}
    return 0
sys.exit(run_command(command))
"""


def start(body: str, **options):
    words = [sys.executable, "-c", COMMAND.format(body=body.replace("\n", "\n    "))]
    return subprocess.Popen(words, text=True, **options)


def lines_of(process) -> list[str]:
    return process.communicate(timeout=300)[1].splitlines()


@pytest.mark.parametrize("closed", [1, 2])
def test_a_closed_output_does_not_end_the_work(closed, tmp_path):
    body = (
        f"print('out'); print('err', file=sys.stderr); sys.stdout.flush()\n"
        f"Path({str(tmp_path / 'made')!r}).write_text('whole')"
    )
    assert start(body, preexec_fn=lambda: os.close(closed)).wait(60) == 0
    assert (tmp_path / "made").read_text() == "whole"


def test_the_work_goes_on_when_the_reader_of_the_output_has_gone(tmp_path):
    body = (
        "for i in range(50_000): print('line', i)\n"
        f"Path({str(tmp_path / 'made')!r}).write_text('whole')"
    )
    process = start(body, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout.readline() == "line 0\n"
    process.stdout.close()
    with process.stderr:
        assert process.stderr.read() == ""
    assert process.wait(60) == 0
    assert (tmp_path / "made").read_text() == "whole"


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_characters_that_the_terminal_does_not_know_do_not_end_the_work(encoding):
    process = start(
        "print('\\u2500 \\u5fae done'); return 0",
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONIOENCODING": encoding},
    )
    assert process.communicate(timeout=300)[0] == "? ? done\n"
    assert process.returncode == 0


@pytest.mark.parametrize("body", ["print('x'); sys.stdout.flush()", "print('at the end')"])
def test_output_on_a_full_disk_is_an_error(body):
    with Path("/dev/full").open("w") as full:
        process = start(body, stdout=full, stderr=subprocess.PIPE)
        [line] = lines_of(process)
    assert process.returncode == BAD_INPUT
    assert line.startswith("error: storage: No space left on device")


@pytest.mark.parametrize(
    ("body", "status", "text"),
    [
        ("open('/etc/passwd/x')", 2, "/etc/passwd/x: Not a directory"),
        ("open('/tmp/' + 'n' * 300)", 2, "File name too long"),
        ("open('/nowhere/x')", 2, "/nowhere/x: No such file or directory"),
        ("raise SystemExit('done by your file')", 2, "ended this one: done by your file"),
        ("raise MemoryError", 3, "memory: there is not enough of it"),
        ("from dadnet.base.errors import OutsideError\nraise OutsideError('no Ray')", 3, "no Ray"),
        ("raise KeyboardInterrupt", 3, "interrupted; what is finished is kept"),
        ("import sqlite3; sqlite3.connect(':memory:').execute('x')", 3, "database of the studies"),
    ],
)
def test_an_error_is_one_line_and_a_status(body, status, text):
    process = start(body, stderr=subprocess.PIPE)
    [line] = lines_of(process)
    assert process.returncode == status
    assert line.startswith("error: ")
    assert text in line


def test_a_file_above_the_limit_of_the_system_is_one_line(tmp_path):
    body = (
        "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (10, 10))\n"
        f"Path({str(tmp_path / 'big')!r}).write_bytes(b'x' * 100)"
    )
    process = start(body, stderr=subprocess.PIPE)
    assert lines_of(process) == [
        "error: the system refused: File too large; what is finished is kept"
    ]
    assert process.returncode == INCOMPLETE


@pytest.mark.parametrize(
    "body",
    ["def f(): return f()\nf()", "10.0 ** 400", "{}['k']", "raise ValueError('a\\nb\\x1b[2J')"],
)
def test_an_unexpected_error_keeps_its_traceback_in_a_file(body, tmp_path):
    process = start(body, stderr=subprocess.PIPE, env={**os.environ, "TMPDIR": str(tmp_path)})
    [line] = lines_of(process)
    assert process.returncode == INCOMPLETE
    assert "\x1b" not in line
    [path] = re.findall(r"the traceback is in (\S+)$", line)
    assert Path(path).parent == tmp_path
    assert "Traceback (most recent call last)" in Path(path).read_text()


@pytest.mark.parametrize("number", END_SIGNALS)
def test_a_signal_that_ends_is_an_interruption(number):
    body = "print('ready', flush=True); time.sleep(60)"
    usual = partial(signal.signal, number, signal.SIG_DFL)  # the tests may run under nohup
    process = start(body, stdout=subprocess.PIPE, stderr=subprocess.PIPE, preexec_fn=usual)
    assert process.stdout.readline() == "ready\n"
    process.send_signal(number)
    assert lines_of(process) == ["error: interrupted; what is finished is kept"]
    assert process.returncode == INCOMPLETE


IMPORTING = "import time: "  # `-X importtime` reports every module on stderr when it is loaded


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGUSR1])
@pytest.mark.parametrize(
    ("words", "loaded"),
    [
        (["orchestration.run_loso"], "torch._utils_internal"),
        (["orchestration.tune"], "numpy"),
        (["orchestration.main", "loso"], "scipy._lib"),
        (["dadnet.predict", "--weights", "x", "--input", "y"], "torch._utils_internal"),
        (["results", "leaderboard"], "msgspec"),
    ],
)
def test_ctrl_c_within_the_imports_of_a_command_is_one_line(words, loaded, number):
    process = subprocess.Popen(
        [sys.executable, "-X", "importtime", "-m", *words],
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=partial(signal.signal, number, signal.SIG_DFL),  # a shell's "&" ignores SIGINT
    )
    assert process.stderr is not None
    with process.stderr as lines:
        for line in lines:
            if line.rpartition("|")[2].strip().startswith(loaded):
                break
        process.send_signal(number)
        rest = [line for line in lines if not line.startswith(IMPORTING)]
    assert rest == ["error: interrupted; what is finished is kept\n"]
    assert process.wait(60) == INCOMPLETE


def test_an_ignored_hangup_stays_ignored():
    process = start(
        "print('ready', flush=True); sys.stdin.readline()",
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN),  # as nohup does
    )
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGHUP)
    process.communicate("go on\n", timeout=300)
    assert process.returncode == 0


def test_signal_handlers_are_as_before_afterwards():
    before = [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGHUP)]
    assert run_command(lambda words: len(words), ["a", "b", "c"]) == 3
    assert [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGHUP)] == before


def test_a_message_has_no_control_characters(capsys):
    def command(words):
        raise DadnetError("subject: got \x1b[31mred\u202e\n and more")

    assert run_command(command, []) == BAD_INPUT
    assert capsys.readouterr().err == "error: subject: got ?[31mred? and more\n"


def test_a_call_from_python_gets_a_full_disk_and_an_exit_as_errors_of_one_line():
    kept = r"storage: No space left .*runs/x.*is kept"
    with pytest.raises(StorageError, match=kept), as_dadnet_errors():
        raise OSError(errno.ENOSPC, "No space left on device", "runs/x")
    with pytest.raises(DadnetError, match="a called program ended this one: 3"), as_dadnet_errors():
        sys.exit(3)
    with pytest.raises(ZeroDivisionError), as_dadnet_errors():
        raise ZeroDivisionError


@pytest.mark.parametrize(
    ("error", "line"),
    [
        ("MemoryError", "error: memory: there is not enough of it"),
        ("ImportError('no room')", "error: an error in this program, please report it: ImportErr"),
        ("OSError(24, 'Too many open files', 'x')", "error: expected a file or folder that can"),
    ],
)
@pytest.mark.parametrize(
    "words",
    [
        ("orchestration.run_loso", "--flows", "nowhere"),
        ("dadnet.doctor", "--dataset", "casme2", "--root", "nowhere"),
    ],
)
def test_an_error_within_the_imports_of_a_command_is_one_line(tmp_path, words, error, line):
    (tmp_path / "cv2.py").write_text(f"raise {error}\n")
    paths = [str(tmp_path), str(Path(__file__).parents[3]), os.environ.get("PYTHONPATH", "")]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "TMPDIR": str(tmp_path)}
    command = [sys.executable, "-m", *words]
    done = subprocess.run(command, capture_output=True, text=True, env=env, check=False)
    assert done.returncode in (2, 3)
    assert done.stderr.startswith(line)
    assert done.stderr.count("\n") == 1
