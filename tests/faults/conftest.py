"""One suite for all faults, started once; helpers beside the tests are importable.

With KEEP_LOGS=FOLDER the services' logs are copied there at the end.
"""

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from bench import Bench


@pytest.fixture(scope="session")
def bench() -> Iterator[Bench]:
    """The suite with two workers and eight devices; one target a step makes a step worth interrupting."""
    # Not pytest's own folder: another pytest that starts closes that one to PostgreSQL's user.
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory(prefix="updraft-faults-") as folder:
        patch.setenv("UPDATE_MANAGER_STEP_BATCH_SIZE", "1")
        made = Bench(Path(folder))
        try:
            made.start()
            yield made
        finally:
            made.stop()
            if kept := os.environ.get("KEEP_LOGS"):
                shutil.copytree(made.folder / "logs", kept, dirs_exist_ok=True)
