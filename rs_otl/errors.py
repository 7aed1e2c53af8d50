"""The error that a user can correct."""


class InputError(ValueError):
    """Wrong use or bad input.

    The message is one line: it names the file or value, what was expected and what to do. The
    command line prints only this line and exits with code 2. Any other exception is a fault of the
    program.
    """
