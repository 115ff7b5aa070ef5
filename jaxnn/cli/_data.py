"""`jaxnn data list | fetch | describe`."""

from jaxnn.cli._config import DataConfig


def run(config: DataConfig) -> int:
    """Run one of the three; return the exit code."""
    raise NotImplementedError
