"""A copy job: the standing order that a job's points are copied to another repository."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from strongroom.model.ids import ID_LENGTH, checked_name

if TYPE_CHECKING:
    from strongroom.model.job import KmsEncryption, PasswordEncryption


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyJob:
    """What is copied, where to, and when.

    Ciphertext stays what it is, and no key is needed; or the copy has a key of its own, and
    what opens the job's points does not open it.
    """

    copy_id: bytes
    name: str
    job: str
    """Name of the job whose chains are copied."""
    repository: str
    """Name of the repository that they are copied to."""
    after_run: bool = True
    """Every session of the job is followed by the copy."""
    encryption: PasswordEncryption | KmsEncryption | None = None
    """Whom the copy's own key is sealed for; None where ciphertext is copied as it is."""
    recovery: bool = True
    """The recovery key opens the copy, too, if there is one."""

    def __post_init__(self) -> None:
        if len(self.copy_id) != ID_LENGTH:
            raise ValueError(f"the id of a copy job has {ID_LENGTH} bytes")
        checked_name("copy job", self.name)
