"""Which workers carry which of the user's tags; sizes in the settings."""

from mpiexec_runner.runtime.settings import WorkerSettings


def test_tags_by_host_and_by_rank() -> None:
    tags = {"fast": {"hosts": ["node0*"], "ranks": [7]}, "all": {}, "none": {"hosts": ["other"]}}
    settings = WorkerSettings.model_validate({"tags": tags, "memory": "2GiB"})
    assert settings.tags_of("node01", 1) == ("all", "fast")
    assert settings.tags_of("node11", 1) == ("all",)
    assert settings.tags_of("node11", 7) == ("all", "fast")
    assert settings.memory == 2 * 2**30
