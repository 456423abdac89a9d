"""The world of the two organizations, on the database of the suite."""

import pytest

from tests.access.world import World, build
from tests.conftest import KIND


@pytest.fixture(scope="session")
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> World:
    """As it was made. Whoever changes something takes a copy: `world.app`."""
    cluster = request.getfixturevalue("postgres") if KIND == "postgres" else None
    return build(tmp_path_factory.mktemp("world"), cluster)
