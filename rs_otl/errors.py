"""The one kind of error that is the user's to mend."""


class InputError(ValueError):
    """Wrong use or bad input.

    The message is one clear line: it names the file or value, says what was expected and
    what to do. The command line prints it alone and exits with 2; any other exception is a
    fault of the program.
    """
