"""Errors that a user can mend, each with its exit code (sysexits.h).

Raise them with one line that says what is wrong, where, and how to mend it.
Anything else that escapes from an executable is a bug of ours (exit 70).
"""

import errno

FULL = (errno.ENOSPC, errno.EDQUOT)  # numbers of the errors of a disk that is full or over quota


class CytoloomError(Exception):
    """Base of the errors that end a task with one line on stderr."""

    exit_code = 70


class UsageError(CytoloomError):
    """An option or argument is wrong."""

    exit_code = 2


class BadData(CytoloomError):
    """An input exists but cannot be used: truncated, wrong shape, wrong type, overflow."""

    exit_code = 65


class InputMissing(CytoloomError):
    """An input does not exist."""

    exit_code = 66


class TryAgain(CytoloomError):
    """A passing fault: the same task may succeed when run again."""

    exit_code = 75
