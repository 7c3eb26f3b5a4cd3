"""The ways in which jaxmi refuses, or stops: the user's mistake, the world's, a request."""


class InputError(ValueError):
    """A value that the user gave cannot be used; the message names it. The command line exits 2."""


class DivergedError(InputError):
    """Training with this recipe ends in infinities for some seeds; the others are done."""


class UnavailableError(RuntimeError):
    """Something needed is missing, corrupt or out of reach, through no fault of the user's.

    The command line prints the message as one line and exits 1.
    """


class StoppedError(RuntimeError):
    """Training was asked to stop and has saved its state. The command line exits 75: try again."""
