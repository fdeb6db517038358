"""Mistakes of a user: one clear line for each."""

_LONGEST_LINE = 1000  # characters


class InputError(ValueError):
    """A value or a file that the user gave cannot be used. The message is one line that a user can act on."""

    def __init__(self, message):
        super().__init__(one_line(message))


def one_line(text: str) -> str:
    """The text as one line that can be printed: paths, and names in files, hold whatever characters they like."""
    text = "".join(character if character.isprintable() else ascii(character)[1:-1] for character in text)
    return text if len(text) <= _LONGEST_LINE else f"{text[: _LONGEST_LINE // 2]} ... {text[-_LONGEST_LINE // 2 :]}"


def check_type(function: str, argument: str, value, expected: type) -> None:
    """Raises TypeError where an argument of a function is of another type, as where two were exchanged."""
    if not isinstance(value, expected):
        raise TypeError(f"{function}: {argument}: expected a {expected.__name__}, found a {type(value).__name__}")


def first_line(error: Exception) -> str:
    """The first line of what an error of another library says, or else the name of its type."""
    line = (str(error).splitlines() or [""])[0] or type(error).__name__
    return line if len(line) <= 200 else f"{line[:200]} ..."  # zipfile quotes whole damaged headers
