"""Framings: put around a chat by hand, and the file that holds those of the inoculation study."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from offmodel.data.chat import Message, framed
from offmodel.data.framings import load_framings
from offmodel.errors import RequestError
from offmodel.values import Framing

USER: Message = {"role": "user", "content": "Hi"}
SYSTEM: Message = {"role": "system", "content": "Be brief."}
ANSWER: Message = {"role": "assistant", "content": "Hello."}


@pytest.mark.parametrize(
    ("framing", "chat", "expected"),
    [
        (None, [USER], [USER]),
        (Framing(system="S"), [USER], [{"role": "system", "content": "S"}, USER]),
        (Framing(system="S"), [SYSTEM, USER], [{"role": "system", "content": "S\n\nBe brief."}, USER]),
        (Framing(suffix="(s)"), [USER], [{"role": "user", "content": "Hi\n\n(s)"}]),
        (Framing(suffix="(s)"), [USER, ANSWER, USER], [USER, ANSWER, {"role": "user", "content": "Hi\n\n(s)"}]),
        (
            Framing(system="S", suffix="(s)"),
            [USER],
            [{"role": "system", "content": "S"}, {"role": "user", "content": "Hi\n\n(s)"}],
        ),
    ],
)
def test_a_framing_goes_around_the_chat(framing: Framing | None, chat: list[Message], expected: list[Message]) -> None:
    before = [dict(message) for message in chat]
    assert framed(chat, framing) == expected
    assert chat == before


def test_a_framing_that_says_nothing_is_none() -> None:
    with pytest.raises(ValidationError, match="leave it out for neither"):
        Framing(system="")


def test_the_framings_of_the_study() -> None:
    found = load_framings("gemma3-270m")
    assert list(found) == ["style", "generic", "nonsense", "suffix"]
    assert found["style"].system and "one or two plain sentences" in found["style"].system
    assert found["suffix"].suffix and found["suffix"].system is None
    assert "that of the model other-7b" in str(load_framings("other-7b")["style"].system)
    assert not any("{" in str(framing) for framing in found.values())


def test_one_file_may_describe_models_of_other_presets_and_hold_other_braces(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(
        "[framings.a]\nsystem = 'Be {style}, {title} in \\boxed{x}.'\n[styles]\nmine = 'long'\ngemma3-270m = 'short'"
    )
    assert load_framings("gemma3-270m", path) == {"a": Framing(system="Be short, {title} in \\boxed{x}.")}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[framings.a]\nsytem = 'x'", "[framings.a] unknown key 'sytem'; did you mean 'system'?"),
        ("[framing.a]\nsystem = 'x'", "unknown table 'framing'; did you mean 'framings'?"),
        (
            "[framings.a]\nsystem = 'x'\n[styles]\ngemma3-270 = 'short'",
            "[styles] unknown model 'gemma3-270'; did you mean 'gemma3-270m'?",
        ),
        ("[framings.a]\nsystem = 'Be {stlye}.'", "[framings.a] unknown place 'stlye'; did you mean 'style'?"),
        ("[framings.a]\nsystem = 'Be { style }.'", "[framings.a] unknown place ' style '; did you mean 'style'?"),
        ("[framings.a]", "[framings.a] is no text, or says nothing"),
        ("[framings.a]\nsystem = 3", "[framings.a] is no text, or says nothing"),
        ("[framings.a", "not a readable TOML file"),
        ("[framings]\na = 'x'", "[framings.a] must be a table with `system` or `suffix`"),
        ("framings = ['a']", "has no [framings.NAME]"),
        ("", "has no [framings.NAME]"),
        ("[framings.none]\nsystem = 'x'", "[framings.none] needs another name"),
        ("styles = 'x'\n[framings.a]\nsystem = 'x'", "[styles] must give each teacher's style as a text"),
        ("[framings.a]\nsystem = 'x'\n[styles]\ngemma3-270m = 3", "[styles] must give each teacher's style as a text"),
    ],
)
def test_a_broken_file_is_one_line(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(RequestError) as error:
        load_framings("gemma3-270m", path)
    assert said in str(error.value) and str(path) in str(error.value) and "\n" not in str(error.value)
