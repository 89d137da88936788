"""What the tests of the core share: a scheduler under a fake clock. See ``core_env.py``."""

from collections.abc import Callable, Iterator

import pytest
from core_env import Env


@pytest.fixture
def env_of() -> Iterator[Callable[..., Env]]:
    """Make a run with kinds and scheduler settings of one's own."""
    made: list[Env] = []

    def make(*kinds: object, **settings: object) -> Env:
        made.append(Env(*kinds, **settings))
        return made[-1]

    yield make
    for env in made:
        env.finish()


@pytest.fixture
def env(env_of: Callable[..., Env]) -> Env:
    """A run with one kind of task that is never retried, and no workers yet."""
    return env_of()
