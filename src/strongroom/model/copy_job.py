"""A copy job: the standing order that a job's points are copied to another repository."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from strongroom.model.ids import ID_LENGTH, checked_name
from strongroom.model.job import NoEncryption

if TYPE_CHECKING:
    from strongroom.model.job import Encryption


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyJob:
    """What is copied, where to, and when.

    Ciphertext stays what it is, and no key is needed; or the copy has a key of its own, and
    what opens the job's points does not open it; or, if somebody insisted, it is plain.
    """

    copy_id: bytes
    name: str
    job: str
    """Name of the job whose chains are copied."""
    repository: str
    """Name of the repository that they are copied to."""
    after_run: bool = True
    """Every session of the job is followed by the copy."""
    encryption: Encryption | None = None
    """Whom the copy's own key is sealed for, if anybody; None where it is copied as it is."""
    recovery: bool = True
    """The recovery key opens the copy, too, if there is one."""

    def __post_init__(self) -> None:
        if len(self.copy_id) != ID_LENGTH:
            raise ValueError(f"the id of a copy job has {ID_LENGTH} bytes")
        checked_name("copy job", self.name)

    @property
    def plain(self) -> bool:
        """Whether what is sealed is opened, and stored for anybody to read."""
        return isinstance(self.encryption, NoEncryption)
