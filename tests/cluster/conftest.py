from collections.abc import Iterator

import pytest

from tests.cluster.slurm_cluster import SlurmCluster, missing


@pytest.fixture(scope="session")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SlurmCluster]:
    """A SLURM of two nodes, which ends with the tests."""
    if reason := missing():
        pytest.skip(reason)
    cluster = SlurmCluster(tmp_path_factory.mktemp("slurm"))
    try:
        try:
            cluster.start()
        except (OSError, TimeoutError) as error:  # as in a container without the rights that its daemons need
            pytest.skip(f"this machine cannot run SLURM: {error}")
        yield cluster
    finally:
        cluster.stop()
