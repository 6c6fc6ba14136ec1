from __future__ import annotations

from dataclasses import replace

import pytest

from strongroom.errors import InvalidInputError
from strongroom.model.job import (
    DEFAULT_RETENTION,
    Job,
    NoEncryption,
    PasswordEncryption,
    RetentionRules,
    SourceKind,
    SourceSpec,
    parse_encryption,
)

ID = bytes(16)


def a_job(**changes: object) -> Job:
    job = Job(
        name="nightly",
        job_id=ID,
        repository="main",
        sources=(SourceSpec.parse("files:/srv", ID),),
        encryption=PasswordEncryption("p"),
    )
    return replace(job, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["files:/srv", "image:/dev/vg/lv", "command:pg_dump db | cat"])
def test_a_source_reads_back_as_it_was_written(text: str) -> None:
    assert str(SourceSpec.parse(text, ID)) == text


@pytest.mark.parametrize(
    "text",
    ["", "files", "files:", "files: ", "tape:/dev/st0", "files:srv", "image:disk", "files:/\0",
     "files:/\udcff", "command:"],
)  # fmt: skip
def test_what_names_no_source_is_refused(text: str) -> None:
    with pytest.raises(InvalidInputError):
        SourceSpec.parse(text, ID)


def test_a_command_that_is_a_json_list_is_an_argument_vector() -> None:
    spec = SourceSpec.parse('command:["pg_dump", "a b"]', ID)
    assert spec.kind is SourceKind.COMMAND
    assert spec.arguments() == ("pg_dump", "a b")


def test_a_command_of_words_is_left_to_bash() -> None:
    assert SourceSpec.parse("command:[ -e /x ] && cat /x", ID).arguments() is None
    assert SourceSpec.parse("files:/srv", ID).arguments() is None


@pytest.mark.parametrize("text", ['command:["a", 1]', 'command:["a"'])
def test_a_broken_argument_vector_is_refused_and_not_run_by_bash(text: str) -> None:
    with pytest.raises(InvalidInputError):
        SourceSpec.parse(text, ID)


def test_encryption_says_none_or_names_a_password() -> None:
    assert parse_encryption("none") == NoEncryption()
    assert parse_encryption("password:p") == PasswordEncryption("p")
    assert str(parse_encryption("password:p")) == "password:p"
    assert not a_job(encryption=NoEncryption()).encrypted
    assert a_job().encrypted


@pytest.mark.parametrize("text", ["", "yes", "password:", "password", "password:a b"])
def test_nothing_else_says_how_to_encrypt(text: str) -> None:
    with pytest.raises(InvalidInputError):
        parse_encryption(text)


@pytest.mark.parametrize(("last", "days"), [(None, None), (0, None), (None, 0), (-1, 5), (3, -2)])
def test_a_retention_that_keeps_nothing_is_refused(last: int | None, days: int | None) -> None:
    with pytest.raises(InvalidInputError):
        RetentionRules(last, days)


def test_the_default_is_fourteen_days() -> None:
    assert a_job().retention == DEFAULT_RETENTION == RetentionRules(keep_days=14)
    assert str(RetentionRules(5, 14)) == "the newest 5 and 14 days"


@pytest.mark.parametrize("size", [0, 1 << 17, 3 << 20, 1 << 24, (1 << 20) + 1, -(1 << 20)])
def test_a_block_size_is_a_power_of_two_within_bounds(size: int) -> None:
    with pytest.raises(InvalidInputError, match="block size"):
        a_job(block_size=size)


@pytest.mark.parametrize("size", [1 << 18, 1 << 20, 1 << 23])
def test_every_block_size_within_the_bounds_is_taken(size: int) -> None:
    assert a_job(block_size=size).block_size == size


def test_a_job_needs_a_source_and_has_none_twice() -> None:
    with pytest.raises(InvalidInputError, match="no source"):
        a_job(sources=())
    with pytest.raises(InvalidInputError, match="twice"):
        a_job(sources=(SourceSpec.parse("files:/a", ID), SourceSpec.parse("files:/a", bytes(16))))


@pytest.mark.parametrize("rule", ["full_every_points", "full_every_days", "expect_every_hours"])
def test_a_rhythm_of_less_than_one_is_refused(rule: str) -> None:
    with pytest.raises(InvalidInputError):
        a_job(**{rule: 0})


def test_ids_have_sixteen_bytes() -> None:
    with pytest.raises(ValueError, match="16 bytes"):
        a_job(job_id=b"short")
    with pytest.raises(ValueError, match="16 bytes"):
        SourceSpec(b"", SourceKind.FILES, "/")
