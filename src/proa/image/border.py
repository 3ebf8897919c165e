"""Where the kernel's errors become the engine's (architecture, section 5)."""

from __future__ import annotations

from types import TracebackType

from proa.errors import Corrupt, from_os_error


class Border:
    """Context manager: an ``OSError`` inside leaves as a :class:`~proa.errors.ProaError`.

    ``doing`` is what cannot be done, e.g. ``cannot unpack layer sha256:...``. ``damaged`` says what
    to do about data that is not what it should be, where the error itself does not.
    """

    __slots__ = ("damaged", "doing")

    def __init__(self, doing: str, damaged: str = "") -> None:
        """Name what is done inside."""
        self.doing = doing
        self.damaged = damaged

    def __enter__(self) -> None:
        return None

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if isinstance(error, OSError):
            raise from_os_error(error, self.doing) from error
        if isinstance(error, Corrupt) and not error.hint:
            error.hint = self.damaged
