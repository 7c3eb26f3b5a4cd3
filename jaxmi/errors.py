"""The two ways in which jaxmi refuses: the user's mistake, and the world's."""


class InputError(ValueError):
    """A value that the user gave cannot be used; the message names it. The command line exits 2."""


class UnavailableError(RuntimeError):
    """Something needed is missing, corrupt or out of reach, through no fault of the user's.

    The command line prints the message as one line and exits 1.
    """
