"""The two ways to fail: the request was wrong, or a run went wrong. Both are one line that says how to mend it."""


class RequestError(Exception):
    """What was asked for cannot be run as asked (exit code 2). Raised before anything expensive starts."""


class RunError(Exception):
    """A step failed while running (exit code 1). What was already made is kept."""
