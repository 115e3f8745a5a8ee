"""The exception for errors that the user can fix; its message is a full sentence."""


class UserError(ValueError):
    """Bad input of any kind; the message names the value, what was expected and how to fix it.

    The programs in `experiments/` print it without a traceback and exit with its `status`. Text
    from outside in the message, such as a file name, cannot control a terminal (`printable`).
    """

    status = 2

    def __init__(self, message: str = ""):
        super().__init__(printable(message))


def printable(text: str) -> str:
    """The text with control, format and surrogate characters as escapes (`\\x1b`, `\\n`)."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def one_line(error: BaseException) -> str:
    """The text of another library's error, fit to stand inside a sentence."""
    return " ".join(str(error).split())[:300] or type(error).__name__
