"""One suite for all faults, started once; helpers beside the tests are importable.

With KEEP_LOGS=FOLDER the services' logs are copied there at the end.
"""

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from bench import Bench


@pytest.fixture(scope="session")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """The suite with two workers and eight devices; one target a step makes a step worth interrupting."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UPDATE_MANAGER_STEP_BATCH_SIZE", "1")
        made = Bench(tmp_path_factory.mktemp("suite"))
        try:
            made.start()
            yield made
        finally:
            made.stop()
            if folder := os.environ.get("KEEP_LOGS"):
                shutil.copytree(made.folder / "logs", folder, dirs_exist_ok=True)
