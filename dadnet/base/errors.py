"""The errors that users see, under one base class."""


class DadnetError(ValueError):
    """Input that cannot be used; the message is one line for the user, the exit status is 2."""


class StorageError(DadnetError):
    """A disk or an object storage cannot be read or written; the message is one line."""


class OutsideError(RuntimeError):
    """What a run needs beside its input has failed, as a Ray that cannot start.

    The message is one line for the user, the exit status is 3.
    """


class AuditError(DadnetError):
    """The data or the plan would leak test information; training was refused."""


class TestLabelError(DadnetError):
    """A test clip was requested where none is allowed, as during a search."""

    __test__ = False  # for pytest, which would take the name for a test


def first_line(error: BaseException) -> str:
    """The first line of an error's message, at most 200 characters; its type without a message."""
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__
