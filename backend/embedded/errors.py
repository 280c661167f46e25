"""What goes wrong while the platform is brought up, told so that the reader can mend it."""


class EmbeddedError(Exception):
    """Something that keeps an embedded part from starting; `remedy` says what to do about it."""

    def __init__(self, detail: str, remedy: str) -> None:
        super().__init__(detail)
        self.detail = detail
        self.remedy = remedy
