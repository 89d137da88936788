"""How numbers of things are said to people. Knows no run."""


def counted(number: int, noun: str) -> str:
    """Say how many: ``1 task``, ``2 tasks``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
