"""The independent reader restores what the engine writes, and believes nothing else."""

from __future__ import annotations

import ast
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from strongroom.control.recovery_kit import format_kit, make_kit
from strongroom.crypto import random
from strongroom.crypto.signing import SigningKey
from strongroom.engine.backup import SourcePlan
from tests.vectors.building import ARepository

READER = Path(__file__).with_name("reader.py")
OLD, NEW = "an old password 1", "a newer password 2"


def read(
    repository: ARepository, password: str | None, *arguments: str, signer: str = ""
) -> subprocess.CompletedProcess[str]:
    secret = "--plain"
    if password is not None:
        file = repository.folder.parent / "password"
        file.write_text(password + "\n")
        secret = str(file)
    return subprocess.run(
        [
            sys.executable,
            str(READER),
            *(["--signer", signer] if signer else []),
            str(repository.folder),
            secret,
            *arguments,
        ],
        capture_output=True,
        text=True,
        check=False,
    )


def snapshot(folder: Path) -> dict[str, object]:
    """Return all that makes up a tree, by path."""
    found: dict[str, object] = {}
    links: dict[int, str] = {}
    for path in sorted([folder, *folder.rglob("*")], key=os.fsencode):
        st = path.lstat()
        name = os.fsencode(path.relative_to(folder)).hex()
        content: object = None
        if path.is_symlink():
            content = path.readlink()
        elif path.is_file():
            content = path.read_bytes()
        first = links.setdefault(st.st_ino, name)
        attributes = {
            one: os.getxattr(path, one) for one in os.listxattr(path, follow_symlinks=False)
        }
        owner = st.st_uid, st.st_gid
        found[name] = (st.st_mode, owner, st.st_mtime_ns, st.st_rdev, attributes, first, content)
    return found


def write_tree(folder: Path) -> None:
    (folder / "empty folder").mkdir(parents=True)
    (folder / "deep" / "er").mkdir(parents=True)
    for index in range(700):
        (folder / "deep" / f"file {index}").write_bytes(b"%d " % index * (index % 90))
    (folder / "deep" / "er" / "large").write_bytes(random.token(9 << 20) + bytes(1 << 20))
    with (folder / "sparse").open("wb") as file:
        file.seek(3 << 20)
        file.write(b"behind a hole")
        file.truncate(8 << 20)
    (folder / "many pieces").write_bytes(random.token(30 << 20))
    (folder / os.fsdecode(b"not \xff utf-8")).write_bytes(b"x")
    (folder / "link").symlink_to("deep/er/../nowhere")
    (folder / "zz second name").hardlink_to(folder / "deep" / "file 3")
    os.mkfifo(folder / "fifo")
    os.mknod(folder / "socket", stat.S_IFSOCK | 0o640)
    os.setxattr(folder / "sparse", "user.note", b"kept\0\xff")
    (folder / "deep" / "file 5").chmod(0o4751)
    os.utime(folder / "deep", ns=(1, 1_234_567_890_123_456_789))


@pytest.fixture
def sources(tmp_path: Path) -> tuple[SourcePlan, ...]:
    write_tree(tmp_path / "tree")
    image = bytearray(5 << 20)
    image[1 << 20 : 3 << 20] = random.token(2 << 20)
    (tmp_path / "image").write_bytes(image + b"the end")
    return (
        SourcePlan(source_id=random.token(16), kind="files", value=str(tmp_path / "tree")),
        SourcePlan(source_id=random.token(16), kind="image", value=str(tmp_path / "image")),
        SourcePlan(
            source_id=random.token(16),
            kind="command",
            value=f"cat {tmp_path}/image; echo {{1..99}}",
        ),
    )


def change(tmp_path: Path) -> None:
    (tmp_path / "tree" / "deep" / "file 7").write_bytes(random.token(70))
    (tmp_path / "tree" / "deep").rename(tmp_path / "tree" / f"moved {random.token(4).hex()}")
    (tmp_path / "tree" / "deep").mkdir()
    (tmp_path / "tree" / "deep" / "new").write_bytes(b"new")
    with (tmp_path / "image").open("r+b") as file:
        file.seek(2 << 20)
        file.write(random.token(100_000))
        file.seek(4 << 20)
        file.write(b"no longer zero")


def moments(tmp_path: Path) -> tuple[dict[str, object], bytes, bytes]:
    image = (tmp_path / "image").read_bytes()
    numbers = " ".join(str(number) for number in range(1, 100)) + "\n"
    return snapshot(tmp_path / "tree"), image, image + numbers.encode()


def restored(
    repository: ARepository, password: str | None, points: list[bytes], scratch: Path
) -> tuple[dict[str, object], bytes, bytes]:
    found: list[Path] = []
    for point in points:
        target = scratch / f"{len(list(scratch.iterdir()))}"
        done = read(repository, password, point.hex(), str(target))
        assert done.returncode == 0, done.stderr
        found.append(target)
    return snapshot(found[0]), found[1].read_bytes(), found[2].read_bytes()


@pytest.mark.parametrize("first_password", [OLD, None], ids=["sealed", "plain"])
def test_each_point_shows_its_own_moment(
    tmp_path: Path, sources: tuple[SourcePlan, ...], first_password: str | None
) -> None:
    repository = ARepository(tmp_path / "repository", first_password, sources=sources)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    shown: list[tuple[list[bytes], object]] = []

    def back_up() -> None:
        outcome = repository.run()
        assert not outcome.warnings
        ids = [result.point_id for result in outcome.results]
        shown.append(([one for one in ids if one is not None], moments(tmp_path)))

    back_up()
    change(tmp_path)
    back_up()
    if first_password is not None:
        repository.change_password(NEW)
    back_up()
    change(tmp_path)
    back_up()

    newest = NEW if first_password is not None else None
    for points, moment in shown:
        assert restored(repository, newest, points, scratch) == moment
    if first_password is not None:
        assert restored(repository, OLD, shown[0][0], scratch) == shown[0][1]
        after = read(repository, OLD, shown[3][0][1].hex(), str(scratch / "after"))
        assert after.returncode == 20
        assert "no-recipient" in after.stderr


@pytest.fixture
def small(tmp_path: Path) -> Iterator[ARepository]:
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "file").write_bytes(b"content " * 1000)
    source = SourcePlan(source_id=random.token(16), kind="files", value=str(tmp_path / "tree"))
    repository = ARepository(tmp_path / "repository", OLD, sources=(source,))
    repository.run()
    (tmp_path / "tree" / "file").write_bytes(b"another")
    repository.run()
    return repository


def test_a_wrong_password_is_told_from_damage(small: ARepository, tmp_path: Path) -> None:
    done = read(small, "not this one", str(tmp_path / "target"))
    assert done.returncode == 20
    assert "no-recipient" in done.stderr


def test_a_recovery_kit_opens_what_was_sealed_for_it(tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "file").write_bytes(b"content")
    source = SourcePlan(source_id=random.token(16), kind="files", value=str(tmp_path / "tree"))
    seed = random.seed()
    repository = ARepository(tmp_path / "repository", OLD, sources=(source,), recovery=seed)
    repository.run()
    kit = make_kit(seed, repository.signer.public.fingerprint, repository.clock.now())
    repository.change_password(NEW)
    repository.run()
    for number, result in enumerate(read(repository, NEW, "--list").stdout.splitlines()):
        done = read(repository, format_kit(kit), result.split()[0], str(tmp_path / str(number)))
        assert done.returncode == 0, done.stderr
        assert (tmp_path / str(number) / "file").read_bytes() == b"content"
    assert number == 1


def test_a_single_file_is_restored_under_its_name(tmp_path: Path) -> None:
    (tmp_path / "alone").write_bytes(b"content")
    source = SourcePlan(source_id=random.token(16), kind="files", value=str(tmp_path / "alone"))
    repository = ARepository(tmp_path / "repository", OLD, sources=(source,))
    repository.run()
    done = read(repository, OLD, str(tmp_path / "target"))
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "target" / "alone").read_bytes() == b"content"


@pytest.fixture
def plain(tmp_path: Path) -> ARepository:
    (tmp_path / "image").write_bytes(b"content" * 100_000)
    source = SourcePlan(source_id=random.token(16), kind="image", value=str(tmp_path / "image"))
    repository = ARepository(tmp_path / "repository", None, sources=(source,))
    repository.run()
    return repository


def test_a_secret_refuses_a_plain_chain(plain: ARepository, tmp_path: Path) -> None:
    done = read(plain, OLD, str(tmp_path / "target"))
    assert done.returncode == 20
    assert "downgraded" in done.stderr
    assert not (tmp_path / "target").exists()


def test_a_plain_chain_is_read_with_a_warning_or_a_fingerprint(
    plain: ARepository, tmp_path: Path
) -> None:
    fingerprint = plain.signer.public.fingerprint
    warned = read(plain, None, str(tmp_path / "warned"))
    assert warned.returncode == 0
    assert fingerprint in warned.stderr
    trusted = read(plain, None, str(tmp_path / "trusted"), signer=fingerprint)
    assert (trusted.returncode, trusted.stderr) == (0, "")
    stranger = SigningKey.from_seed(random.seed()).public.fingerprint
    done = read(plain, None, str(tmp_path / "other"), signer=stranger)
    assert done.returncode == 20
    assert "forged" in done.stderr


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 3] ^= 1
    path.chmod(0o600)
    path.write_bytes(data)


def test_what_leads_to_an_older_chain_key_closes_no_newer_point(
    small: ARepository, tmp_path: Path
) -> None:
    superseded = list(small.folder.glob("chains/*/envelopes/*"))
    small.change_password(NEW)
    (tmp_path / "tree" / "file").write_bytes(b"all that the newest point holds")
    small.run()
    older = read(small, NEW, "--list").stdout.split()[0]
    for path in (*small.folder.glob("chains/*/links/*"), *superseded):
        flip(path)
    assert read(small, NEW, str(tmp_path / "newest")).returncode == 0
    done = read(small, NEW, older, str(tmp_path / "older"))
    assert done.returncode == 20
    assert "chain-broken" in done.stderr


def test_what_an_earlier_chain_promises_is_missed(small: ARepository, tmp_path: Path) -> None:
    assert small.previous is not None
    small.older = (small.previous,)
    earlier = small.chain.chain_id.hex()
    small.start_chain()
    small.run()
    assert read(small, OLD, str(tmp_path / "target")).returncode == 0
    (small.folder / "chains" / earlier / "journal" / "0000000002").unlink()
    assert "rolled-back" in read(small, OLD, str(tmp_path / "again")).stderr
    (small.folder / "headers" / earlier).unlink()
    assert "withheld" in read(small, OLD, str(tmp_path / "again")).stderr
    assert not (tmp_path / "again").exists()


def test_what_lies_behind_a_missing_entry_is_not_used(small: ARepository, tmp_path: Path) -> None:
    journal = next(small.folder.glob("chains/*/journal"))
    (journal / "0000000004").write_bytes(b"planted")
    done = read(small, OLD, str(tmp_path / "target"))
    assert done.returncode == 0
    assert "entry 4" in done.stderr
    (journal / "0000000003").write_bytes(b"planted")
    done = read(small, OLD, str(tmp_path / "another"))
    assert done.returncode == 20
    assert "header-malformed" in done.stderr


@pytest.mark.parametrize(
    ("folder", "outcome"),
    [
        ("headers", "header-malformed"),
        ("chains/*/journal", "header-malformed"),
        ("chains/*/envelopes", "envelope-altered"),
        ("chains/*/tables", "point-damaged"),
        ("chains/*/packs/*", "block-damaged"),
    ],
)
def test_one_flipped_bit_is_found(
    small: ARepository, tmp_path: Path, folder: str, outcome: str
) -> None:
    for path in small.folder.glob(f"{folder}/*"):
        flip(path)
    done = read(small, OLD, str(tmp_path / "target"))
    assert done.returncode == 20
    assert outcome in done.stderr, done.stderr
    assert not list(tmp_path.glob("target*"))


def test_a_withheld_point_is_missed(small: ARepository, tmp_path: Path) -> None:
    next(small.folder.glob("chains/*/journal/0000000001")).unlink()
    done = read(small, OLD, str(tmp_path / "target"))
    assert "withheld" in done.stderr


def test_the_reader_imports_nothing_of_strongroom() -> None:
    tree = ast.parse(READER.read_text())
    nodes = list(ast.walk(tree))
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)}
    outside = {name.partition(".")[0] for name in names} - set(sys.stdlib_module_names)
    assert outside == {"blake3", "cryptography", "msgspec", "zstandard"}


def test_a_re_encrypted_chain_restores_with_today_s_password_alone(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "same").write_bytes(random.token(100_000))
    source = SourcePlan(source_id=random.token(16), kind="files", value=str(tree))
    repository = ARepository(tmp_path / "repository", OLD, sources=(source,))
    shown: dict[bytes, dict[str, object]] = {}

    def back_up(content: bytes) -> None:
        (tree / "own").write_bytes(content)
        point = repository.run().results[0].point_id
        assert point is not None
        shown[point] = snapshot(tree)

    back_up(b"one")
    back_up(b"given up")
    given_up = list(shown)[-1]
    del shown[given_up]
    repository.take_over(SigningKey.from_seed(random.seed()), OLD)
    back_up(b"two")
    repository.run(give_up=(given_up,))
    repository.reencrypt(NEW)
    back_up(b"three")

    for index, (point, expected) in enumerate(shown.items()):
        target = tmp_path / f"target {index}"
        done = read(repository, NEW, point.hex(), str(target))
        assert done.returncode == 0, done.stderr
        assert snapshot(target) == expected
        assert read(repository, OLD, point.hex(), str(tmp_path / "none")).returncode != 0
