"""A worker that is told to end ends in time, though its main thread waits for something that never comes."""

import signal
import subprocess
import sys

HELD = """
import signal, time
from update_manager.entrypoints.worker.run import end_in_time
signal.signal(signal.SIGTERM, lambda *_: None)  # as Celery's: noted, and acted on when the main thread has time
end_in_time(0.1)
print("waits", flush=True)
time.sleep(60)
"""


def test_a_worker_held_by_a_broker_that_went_first_ends_all_the_same() -> None:
    with subprocess.Popen([sys.executable, "-c", HELD], stdout=subprocess.PIPE) as worker:
        assert worker.stdout is not None and worker.stdout.readline() == b"waits\n"
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(timeout=20) == 0
