"""What is wrong with a file."""


class BadFile(ValueError):  # noqa: N818
    """A file that is damaged, or that is no model of this format."""
