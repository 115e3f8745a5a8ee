"""The one exception that means "the person can fix this": its message is a full sentence."""


class UserError(ValueError):
    """Bad input of any kind; the message names the value, what was expected and how to fix it.

    The programs in `experiments/` print it without a traceback and exit with its `status`.
    """

    status = 2


def one_line(error: BaseException) -> str:
    """Text of another library's error, fit to stand inside a sentence."""
    return " ".join(str(error).split())[:300] or type(error).__name__
