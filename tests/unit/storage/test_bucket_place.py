from __future__ import annotations

import pytest

from strongroom import errors
from strongroom.storage.bucket_place import parse
from strongroom.storage.location import is_elsewhere, local_path, normalise


@pytest.mark.parametrize(
    ("location", "expected"),
    [
        ("s3://backups", "s3://backups"),
        ("S3://backups/", "s3://backups"),
        ("s3://backups//a///b/", "s3://backups/a/b"),
        (
            "s3://backups/a?region=eu-1&endpoint=HTTPS://Store.Example:443/",
            "s3://backups/a?endpoint=https://store.example&region=eu-1",
        ),
        ("s3://backups?endpoint=https%3A%2F%2Fh%3A9000", "s3://backups?endpoint=https://h:9000"),
        ("s3://backups?endpoint=http://[::1]:9000", "s3://backups?endpoint=http://[::1]:9000"),
        ("s3://backups?allow_http=false", "s3://backups"),
        (
            "s3://backups?allow_http=true&endpoint=http://store:80",
            "s3://backups?endpoint=http://store&allow_http=true",
        ),
        ("gs://backups/a", "gs://backups/a"),
        ("az://container/a?account=ours", "az://container/a?account=ours"),
    ],
)
def test_ways_of_writing_one_bucket_become_the_same(location: str, expected: str) -> None:
    assert normalise(location) == expected
    assert normalise(expected) == expected
    assert is_elsewhere(location)
    assert local_path(location) is None


@pytest.mark.parametrize(
    ("location", "words"),
    [
        ("s3://", "no bucket"),
        ("s3:backups", "no bucket"),
        ("s3:///backups", "no bucket"),
        ("s3://x", "no name of a bucket"),
        ("s3://backups/../a", "prefix"),
        ("s3://backups/.a", "prefix"),
        ("s3://backups/a b", "prefix"),
        ("s3://backups/" + "a" * 501, "longer"),
        ("s3://backups#a", "means nothing"),
        ("s3://backups?colour=red", "colour= means nothing"),
        ("gs://backups?region=eu", "region= means nothing"),
        ("s3://backups?region=a&region=b", "twice"),
        ("s3://backups?region=", "names none"),
        ("s3://backups?allow_http=maybe", "true or false"),
        ("s3://backups?endpoint=store", "https://HOST"),
        ("s3://backups?endpoint=ftp://store", "https://HOST"),
        ("s3://backups?endpoint=https://store?x=1", "more than a host"),
        ("s3://backups?endpoint=https://store:port", "endpoint"),
        ("s3://backups?endpoint=http://store", "without TLS"),
    ],
)
def test_what_is_no_bucket_is_refused_with_the_reason(location: str, words: str) -> None:
    with pytest.raises(errors.InvalidInputError, match=words):
        normalise(location)


@pytest.mark.parametrize(
    "location",
    [
        "s3://AKID:hush-hush@backups/a",
        "s3://AKID:slash/hush-hush@backups/a",
        "s3://AKID:hush-hush/backups",
        "s3://backups?endpoint=https://me:slash/hush-hush@store",
        "s3://backups?colour=hush-hush",
        "s3://backups?secret_key=hush-hush",
        "s3://backups?secret_access_key=hush-hush",
        "s3://backups?session_token=hush-hush",
        "az://backups?account_key=hush-hush",
        "az://backups?sig=hush-hush",
        "s3://backups?endpoint=https://me:hush-hush@store",
        "s3://backups?endpoint=me:hush-hush@store",
    ],
)
def test_a_secret_in_a_location_is_refused_and_not_repeated(location: str) -> None:
    with pytest.raises(errors.InvalidInputError) as caught:
        parse(location)
    assert "hush" not in f"{caught.value} {caught.value.hint} {caught.value.fields}"
    assert "credential add" in str(caught.value.hint) or "colour=" in str(caught.value)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.1.2.3", "[::1]"])
def test_a_server_on_this_machine_is_spoken_to_in_plain(host: str) -> None:
    assert parse(f"s3://backups?endpoint=http://{host}:9000").is_plain
