"""Networks of unknown origin, trained once for all tests here."""

import pytest
from tiny_purify import Origin, origin


@pytest.fixture(scope="session")
def suspect(tmp_path_factory: pytest.TempPathFactory) -> Origin:
    """A network with a backdoor to class 0."""
    return origin(tmp_path_factory.mktemp("suspect"), poisoned=True)


@pytest.fixture(scope="session")
def innocent(tmp_path_factory: pytest.TempPathFactory) -> Origin:
    """One without."""
    return origin(tmp_path_factory.mktemp("innocent"), poisoned=False)
