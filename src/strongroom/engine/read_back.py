"""Reading back what a restore wrote, and comparing it with the content hashes of the point.

Everything is made durable first and the kernel is asked to forget what it holds in memory, so
that what is compared is what the disk gives, as far as that can be had. Files that were there
already and were left as they are have been compared when that was decided: in `tree_plan`.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from strongroom.engine.index_reader import (
    Leaf,
    Path,
    file_pieces,
    tree_leaves,
)
from strongroom.engine.object_restore import object_path, of_pieces, runs
from strongroom.engine.restore_work import SHOWN, RestoreWork
from strongroom.engine.target_comparison import holds, is_whole
from strongroom.engine.target_probe import TargetProbe
from strongroom.engine.tree_plan import NEW, REPLACE, first_of, shared_depth
from strongroom.errors import IntegrityError, RefusedError
from strongroom.model.entry import EntryKind

if TYPE_CHECKING:
    from strongroom.engine.tree_plan import TreePlan
    from strongroom.format.index import TreePage
    from strongroom.format.point import DiskRoot, StreamRoot, TreeRoot

_LEAVE: Final = int(EntryKind.LEAVE)
_DIRECTORY: Final = int(EntryKind.DIRECTORY)
_FILE: Final = int(EntryKind.FILE)
_HARD_LINK: Final = int(EntryKind.HARD_LINK)


def read_back_tree(work: RestoreWork, root: TreeRoot, plan: TreePlan) -> None:
    """Compare every file that was written.

    Raises:
        IntegrityError: some are not what was written; `fields["paths"]` lists them.
    """
    _TreeComparison(work, root, plan).run()


def read_back_object(work: RestoreWork, root: DiskRoot | StreamRoot) -> None:
    """Compare an object that was written, its holes included.

    Raises:
        IntegrityError: it is not what was written.
    """
    if work.result.losses:
        return
    path = object_path(work)
    work.progress.begin("verify", root.size)
    os.sync()
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if not is_whole(fd, runs(work, root, None), root.size, work):
            raise IntegrityError(
                f"{path} reads back as something else than was written", paths=[str(path)]
            )
    except OSError as error:
        words = (error.strerror or str(error)).lower()
        raise RefusedError(f"cannot read back {path}: {words}", path=str(path)) from error
    finally:
        os.close(fd)
    work.progress.finish()
    work.result.verified = True


class _TreeComparison:
    def __init__(self, work: RestoreWork, root: TreeRoot, plan: TreePlan) -> None:
        self._work = work
        self._root = root
        self._plan = plan
        self._probe = TargetProbe(plan.landing.top)
        self._names: list[bytes] = []
        self._different: list[str] = []
        self._lost = {loss.path for loss in work.result.losses}

    def run(self) -> None:
        work, plan = self._work, self._plan
        work.progress.begin("verify", plan.bytes)
        os.sync()
        on_gap = (lambda _: None) if work.request.salvage else None
        try:
            for name in plan.landing.way:
                self._probe.enter(name)
            leaves = tree_leaves(work.reader, self._root, plan.scope, on_gap)
            for leaf, (_, choices) in zip(leaves, plan.choices, strict=True):
                work.cancel.check()
                self._go_to(leaf.before)
                self._compare(leaf, choices)
        finally:
            self._probe.close()
        if self._different:
            shown = ", ".join(self._different[:SHOWN])
            raise IntegrityError(
                f"{len(self._different)} files read back as something else than was written: "
                f"{shown}",
                hint="the target's disk or file system is at fault; do not trust it",
                paths=self._different,
            )
        work.progress.finish()
        work.result.verified = True

    def _go_to(self, before: Path) -> None:
        kept = shared_depth(self._names, before)
        while len(self._names) > kept:
            self._leave()
        for name in before[kept:]:
            self._enter(name)

    def _enter(self, name: bytes) -> None:
        step = name if self._names else self._plan.landing.root_name
        if step is not None:
            self._probe.enter(step)
        self._names.append(name)

    def _leave(self) -> None:
        self._names.pop()
        if self._names or self._plan.landing.root_name is not None:
            self._probe.leave()

    def _compare(self, leaf: Leaf, choices: bytes | None) -> None:
        page = leaf.page
        file = -1
        for index, kind in enumerate(page.kinds):
            if kind == _LEAVE:
                self._leave()
                continue
            name = page.names[index]
            if kind == _DIRECTORY:
                self._enter(name)
                continue
            if kind == _FILE:
                file += 1
            elif kind != _HARD_LINK:
                continue
            if choices is not None and choices[index] not in (NEW, REPLACE):
                continue
            below = (*self._names[1:], name) if self._names else ()
            path = self._plan.landing.path(below)
            if path in self._lost:
                continue
            step = name if self._names else self._plan.landing.root_name or name
            if kind == _HARD_LINK:
                self._compare_link(page.links[index], step, path)
            else:
                self._compare_file(page, file, step, path)

    def _compare_link(self, link: bytes, step: bytes, path: str) -> None:
        """Compare a further name where it is not one of a file that is compared anyway."""
        st = self._probe.existing(step)
        if (
            st is not None
            and st.st_nlink > 1
            and self._plan.selection.covers(tuple(link.split(b"/")))
        ):
            return
        first = first_of(self._work, self._root, link)
        if first.kind == EntryKind.FILE:
            self._compare_file(first.page, first.file, step, path)

    def _compare_file(self, page: TreePage, file: int, step: bytes, path: str) -> None:
        pieces = of_pieces(file_pieces(self._work.reader, page, file))
        if not holds(self._probe, step, pieces, page.sizes[file], self._work):
            self._different.append(path)
