"""Says why a write failed and what to do: room for a full disk, rights for a folder of somebody else."""

import errno

from mlpkit.errors import WriteError

_ADVICE = {
    errno.ENOSPC: "free some space",
    errno.EDQUOT: "free some space",
    errno.EFBIG: "raise the largest size of a file (ulimit -f)",
    errno.EMFILE: "raise the number of open files (ulimit -n)",
    errno.EACCES: "make it writable, or choose another place",
    errno.EPERM: "make it writable, or choose another place",
    errno.EROFS: "choose a place that can be written to",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.ELOOP: "remove the link",
}
_SQLITE_ADVICE = {
    "SQLITE_FULL": "free some space",
    "SQLITE_BUSY": "wait until the other process has ended, or stop it",
    "SQLITE_READONLY": "make it writable",
    "SQLITE_CANTOPEN": "make its folder writable",
}


def failed_write(what: object, error: Exception, action: str = "cannot be written") -> WriteError:
    """Return the error of a write: what the system says, and what to do.

    Args:
        what: the file.
        error: from the system, or from SQLite.
        action: what failed.
    """
    reason = getattr(error, "strerror", None) or error
    return WriteError(f"{what}: {action} ({reason}); {_advice(error)}")


def _advice(error: Exception) -> str:
    kind = getattr(error, "sqlite_errorname", "")
    for name, advice in _SQLITE_ADVICE.items():
        if kind.startswith(name):  # SQLITE_READONLY_DIRECTORY and the like
            return advice
    return _ADVICE.get(getattr(error, "errno", None) or 0, "check the disk, or choose another place")
