"""Jobs in processes of their own."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

JOB = """
import os, sys, time
from pathlib import Path


def job(file):
    Path(file).write_text(str(os.getpid()))
    time.sleep(120)


if __name__ == "__main__":
    from pretrain.fitting.side_by_side import side_by_side
    list(side_by_side(job, [(sys.argv[1],)], 1))
"""


def alive(process: int) -> bool:
    status = Path(f"/proc/{process}/stat")
    return status.exists() and status.read_text().rsplit(")", 1)[1].split()[0] != "Z"


def test_a_job_ends_with_the_process_that_asked_for_it(tmp_path: Path) -> None:
    (tmp_path / "asking.py").write_text(JOB)
    told = tmp_path / "process"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    asking = subprocess.Popen([sys.executable, str(tmp_path / "asking.py"), str(told)], env=environment)
    while not (told.exists() and told.read_text()):
        assert asking.poll() is None
        time.sleep(0.05)
    job = int(told.read_text())
    assert alive(job)
    asking.send_signal(signal.SIGKILL)
    asking.wait()
    for _ in range(200):
        if not alive(job):
            break
        time.sleep(0.05)
    else:
        os.kill(job, signal.SIGKILL)
        raise AssertionError("the job went on without anybody who waits for it")
