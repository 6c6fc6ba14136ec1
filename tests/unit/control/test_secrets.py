from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from strongroom.control.secrets import SecretSource
from strongroom.crypto.keys import Password
from strongroom.errors import InvalidInputError, SecretNeededError

if TYPE_CHECKING:
    from collections.abc import Callable

SECRET = "open-Sesame-42"  # noqa: S105


def typing(*texts: str) -> tuple[Callable[[str], str], list[str]]:
    asked: list[str] = []
    answers = iter(texts)

    def prompt(what: str) -> str:
        asked.append(what)
        return next(answers)

    return prompt, asked


@pytest.mark.parametrize("ending", ["", "\n", "\r\n"])
def test_a_file_holds_a_secret_with_or_without_an_end_of_line(tmp_path: Path, ending: str) -> None:
    file = tmp_path / "secret"
    file.write_bytes((SECRET + ending).encode())
    file.chmod(0o600)
    warned: list[str] = []
    assert SecretSource(file=file, warn=warned.append).get("password") == Password(SECRET.encode())
    assert warned == []


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604])
def test_a_file_that_others_can_read_is_warned_of(tmp_path: Path, mode: int) -> None:
    file = tmp_path / "secret"
    file.write_text(SECRET)
    file.chmod(mode)
    warned: list[str] = []
    SecretSource(file=file, warn=warned.append).get("password")
    assert len(warned) == 1
    assert "chmod 600" in warned[0]
    assert SECRET not in warned[0]


def test_spaces_belong_to_the_secret(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("  two words \n")
    assert SecretSource(file=file).get("password").expose() == b"  two words "


@pytest.mark.parametrize("content", [b"", b"\n", b"one\ntwo\n", b"x" * 70000, b"\xff\xfe"])
def test_a_file_that_holds_no_one_line_of_text_is_refused(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "secret"
    file.write_bytes(content)
    with pytest.raises(InvalidInputError, match=r"holds (no|more than)"):
        SecretSource(file=file).get("password")


def test_a_file_that_is_missing_is_named() -> None:
    with pytest.raises(InvalidInputError, match="/nowhere/at/all"):
        SecretSource(file=Path("/nowhere/at/all")).get("password")


def test_a_variable_holds_a_secret() -> None:
    source = SecretSource(environment="V", variables={"V": SECRET})
    assert source.get("password").expose() == SECRET.encode()
    with pytest.raises(InvalidInputError, match="no variable W"):
        SecretSource(environment="W", variables={"V": SECRET}).get("password")


def test_composed_and_decomposed_letters_are_one_secret() -> None:
    composed = SecretSource(environment="V", variables={"V": "caf\u00e9"})
    decomposed = SecretSource(environment="V", variables={"V": "cafe\u0301"})
    assert composed.get("password") == decomposed.get("password")


def test_a_command_prints_a_secret() -> None:
    assert SecretSource(command=f"echo {SECRET}").get("password").expose() == SECRET.encode()


def test_a_command_that_fails_gives_none_and_its_words_are_not_repeated() -> None:
    with pytest.raises(InvalidInputError, match="status 3") as caught:
        SecretSource(command=f"echo {SECRET}; exit 3").get("password")
    assert SECRET not in str(caught.value)


def test_a_prompt_shows_the_hint_and_asks_once() -> None:
    prompt, asked = typing(SECRET)
    assert SecretSource(prompt=prompt).get("password", hint="blue").expose() == SECRET.encode()
    assert asked == ["password (hint: blue)"]


def test_a_new_secret_is_typed_twice() -> None:
    prompt, asked = typing(SECRET, SECRET)
    assert SecretSource(prompt=prompt).get("password", new=True).expose() == SECRET.encode()
    assert asked == ["password", "password, again"]
    prompt, _ = typing(SECRET, SECRET + "x")
    with pytest.raises(InvalidInputError, match="differ"):
        SecretSource(prompt=prompt).get("password", new=True)


def test_without_a_terminal_nothing_is_asked() -> None:
    with pytest.raises(SecretNeededError, match="no terminal"):
        SecretSource().get("password")
    assert not SecretSource().can_ask
    assert SecretSource(environment="V").named


def test_a_secret_comes_from_one_place() -> None:
    with pytest.raises(InvalidInputError, match="one place"):
        SecretSource(environment="V", command="echo")
