"""Leaving: in a process of its own, since it ends it."""

import os
import subprocess
import sys


def test_a_process_that_leaves_has_written_its_output_and_run_its_exit_functions():
    script = (
        "import atexit\n"
        "from orchestration.reporting.leave import leave\n"
        "atexit.register(print, 'promised', end='')\n"
        "print('said')\n"
        "leave(3)\n"
    )
    left = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (left.returncode, left.stdout, left.stderr) == (3, "said\npromised", "")


def test_a_reader_that_is_gone_is_no_error():
    script = (
        "import os\nfrom orchestration.reporting.leave import leave\n"
        "print('said')\nos.read(0, 1)\nleave(0)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONUNBUFFERED": ""},  # the output is written at the end
    ) as process:
        process.stdout.close()
        process.stdin.write(b"\n")
        process.stdin.close()
        assert process.stderr.read() == b""
    assert process.returncode == 0


def test_a_signal_does_not_change_an_end_that_has_begun():
    script = (
        "import atexit, os, signal\n"
        "from orchestration.reporting.leave import leave\n"
        "def again():\n"
        "    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1):\n"
        "        os.kill(os.getpid(), number)\n"
        "    print('all of it')\n"
        "atexit.register(again)\n"
        "leave(3)\n"
    )
    left = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (left.returncode, left.stdout, left.stderr) == (3, "all of it\n", "")


def test_an_end_that_hangs_has_its_status_all_the_same():
    script = (
        "import atexit, threading\n"
        "from orchestration.reporting import leave\n"
        "leave.AT_MOST_S = 0.2\n"
        "atexit.register(threading.Event().wait)\n"
        "leave.leave(3)\n"
    )
    left = subprocess.run([sys.executable, "-c", script], timeout=300)
    assert left.returncode == 3
