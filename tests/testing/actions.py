"""What a training does in a test."""


def raises(error):
    """Return a function that raises `error`."""

    def action():
        raise error

    return action
