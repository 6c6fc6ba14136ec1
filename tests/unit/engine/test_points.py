import pytest

from strongroom.engine.points import open_points, select
from strongroom.errors import InvalidInputError, NotFoundError, PointDamagedError, UnlockError
from strongroom.repository.keyring import Keyring
from strongroom.testing.memory_storage import MemoryStorage
from tests.support.chain_builder import LEAVE, build_chain, directory, start_chain
from tests.support.engine_job import EngineJob, source
from tests.support.reading import views_of


@pytest.fixture
def job(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(name)
    made = EngineJob(
        MemoryStorage(), [source("files", tmp_path / "one"), source("files", tmp_path / "two")]
    )
    made.run()
    made.run()
    return made


def test_points_come_oldest_first_with_what_they_say(job, tmp_path) -> None:
    views = views_of(job)
    assert [view.opened().source for view in views] == [
        f"files:{tmp_path}/{name}" for name in ("one", "two", "one", "two")
    ]
    assert all(view.encrypted and not view.held and view.problem is None for view in views)
    assert [view.taken_at for view in views] == sorted(view.taken_at for view in views)


def test_without_keys_points_are_listed_locked(job) -> None:
    views = open_points([job.chain()], lambda _: None)
    assert len(views) == 4
    for view in views:
        assert view.details is None
        with pytest.raises(UnlockError):
            view.opened()


def test_with_metakeys_alone_names_open_and_content_does_not(job) -> None:
    keyring = Keyring(job.chain_id, {}, job.metakeys)
    view = open_points([job.chain()], lambda _: keyring)[0]
    assert view.opened().job == "job"
    with pytest.raises(UnlockError):
        view.hasher()


def test_a_plain_point_needs_no_keys() -> None:
    view = build_chain(MemoryStorage(), sealed=False).views()[0]
    assert not view.encrypted
    assert view.opened().source == "files:/source"


def test_one_point_that_does_not_open_hides_no_other(job) -> None:
    other = start_chain(MemoryStorage())
    session = other.session()
    root = session.single([directory("."), LEAVE])
    session.publish([("files:/a", root), ("image:/b", root.__class__(9, root.page, None))])
    good, bad = sorted(other.views(), key=lambda view: view.problem is not None)
    assert good.opened().source == "files:/a"
    assert bad.details is None
    assert bad.problem is not None


def test_a_wrong_metakey_is_damage_and_not_silence(job) -> None:
    keys = list(job.metakeys)
    swapped = dict(zip(keys, reversed(list(job.metakeys.values())), strict=True))
    views = open_points([job.chain()], lambda _: Keyring(job.chain_id, {}, swapped))
    assert all(isinstance(view.problem, PointDamagedError) for view in views)


# --- choosing ----------------------------------------------------------------------------------


def test_a_point_is_named_by_its_id_or_a_prefix_of_it(job) -> None:
    views = views_of(job)
    for view in views:
        assert select(views, view.id) is view
        assert select(views, view.id.upper()) is view
        assert select(views, view.id[:12]) is view


@pytest.mark.parametrize("text", ["", "abc", "xyzw", "files", "@", "job@newest", "0x12"])
def test_words_that_can_mean_no_point_are_refused(job, text: str) -> None:
    with pytest.raises(InvalidInputError):
        select(views_of(job), text)


def test_an_id_that_is_not_there_is_not_found(job) -> None:
    with pytest.raises(NotFoundError):
        select(views_of(job), "00" * 16)


def test_latest_of_a_job_with_several_sources_needs_the_source(job, tmp_path) -> None:
    views = views_of(job)
    with pytest.raises(InvalidInputError, match="several sources"):
        select(views, "job@latest")
    for words in (f"files:{tmp_path}/two", f"{tmp_path}/two", f"{tmp_path}/two".lstrip("/")):
        assert select(views, f"job/{words}@latest") is views[3]
    with pytest.raises(NotFoundError):
        select(views, "job/other@latest")
    with pytest.raises(NotFoundError):
        select(views, "nobody@latest")


def test_latest_is_the_newest(tmp_path) -> None:
    (tmp_path / "f").write_text("x")
    job = EngineJob(MemoryStorage(), [source("files", tmp_path)])
    for _ in range(3):
        job.run()
    views = views_of(job)
    assert select(list(reversed(views)), "job@latest") is views[2]


def test_latest_is_not_an_older_one_because_the_newest_is_locked(tmp_path) -> None:
    (tmp_path / "f").write_text("x")
    job = EngineJob(MemoryStorage(), [source("files", tmp_path)])
    job.run()
    known = dict(job.metakeys)
    job.run()
    views = open_points([job.chain()], lambda _: Keyring(job.chain_id, {}, known))
    assert [view.details is None for view in views] == [False, True]
    with pytest.raises(UnlockError):
        select(views, "job@latest")


def test_a_prefix_that_several_points_share_is_refused() -> None:
    import dataclasses

    built = build_chain(MemoryStorage(), trees=[{"a": b""}, {"b": b""}])
    views = built.views()
    for number, view in enumerate(views):
        point = view.live.point.__class__(
            bytes.fromhex("abcd1234" * 3 + f"0000000{number}"),
            *(getattr(view.live.point, name) for name in ("source_id", "kind", "details")),
        )
        view.live = dataclasses.replace(view.live, point=point)
    with pytest.raises(InvalidInputError, match="2 points"):
        select(views, "abcd12")
    assert select(views, views[1].id) is views[1]
