"""A copy job: the standing order that a job's points are copied to another repository."""

from __future__ import annotations

from dataclasses import dataclass

from strongroom.model.ids import ID_LENGTH, checked_name


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyJob:
    """What is copied, where to, and when. Ciphertext stays what it is: no key is needed."""

    copy_id: bytes
    name: str
    job: str
    """Name of the job whose chains are copied."""
    repository: str
    """Name of the repository that they are copied to."""
    after_run: bool = True
    """Every session of the job is followed by the copy."""

    def __post_init__(self) -> None:
        if len(self.copy_id) != ID_LENGTH:
            raise ValueError(f"the id of a copy job has {ID_LENGTH} bytes")
        checked_name("copy job", self.name)
