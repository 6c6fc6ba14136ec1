"""The reference says what the program says, and every help text keeps the house's manners."""

from __future__ import annotations

from pathlib import Path

import click
import pytest

from strongroom.cli import main, reference

ROOT = Path(__file__).parents[2]
COMMANDS = {words: (command, ctx) for words, command, ctx in reference.commands()}


@pytest.mark.parametrize(
    ("page", "make"),
    [
        ("cli.md", reference.command_line),
        ("errors.md", reference.error_list),
        ("json.md", reference.json_answers),
    ],
)
def test_the_reference_is_what_the_code_says(page: str, make: object) -> None:
    written = (ROOT / "docs" / "reference" / page).read_text(encoding="utf-8")
    assert callable(make)
    assert written == make(), "run 'python -m strongroom.cli.reference docs/reference'"


@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: words or "strongroom")
def test_help_ends_with_its_exit_statuses_within_80_columns(words: str) -> None:
    command, ctx = COMMANDS[words]
    text = command.get_help(ctx)
    assert all(len(line) <= 80 for line in text.splitlines())
    _, mark, statuses = text.partition("\nExit status:\n")
    assert mark
    lines = statuses.rstrip().splitlines()
    assert lines
    assert all(line.startswith("  ") and line.split()[0].isdigit() for line in lines)
    numbers = [int(line.split()[0]) for line in lines]
    assert numbers == sorted(set(numbers))
    assert numbers[0] == 0


@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: words or "strongroom")
def test_every_option_is_explained(words: str) -> None:
    command, _ = COMMANDS[words]
    silent = [
        parameter.name
        for parameter in command.params
        if isinstance(parameter, click.Option) and not parameter.help
    ]
    assert silent == []


@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: words or "strongroom")
def test_no_option_takes_a_secret_itself(words: str) -> None:
    command, _ = COMMANDS[words]
    names = [name for parameter in command.params for name in parameter.opts]
    assert not {"--password", "--old-password", "--passphrase", "--secret"} & set(names)


def test_every_command_has_a_documented_answer() -> None:
    leaves = {
        words for words, (command, _) in COMMANDS.items() if not isinstance(command, click.Group)
    }
    assert leaves | {""} == set(reference.ANSWERS)


@pytest.mark.parametrize("noun", main.NOUNS)
def test_the_first_page_of_help_says_what_each_nouns_own_help_says(noun: str) -> None:
    command, _ = COMMANDS[noun]
    assert main.NOUNS[noun][1] == command.get_short_help_str(999)
