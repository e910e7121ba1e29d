"""Artefacts are whole or absent, made once, and remade when they are damaged."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from offmodel.errors import RequestError, RunError
from offmodel.journal import Journal
from offmodel.recipes import Base
from offmodel.store import Store

RECIPE = Base(alias="thing", weights="sha256:1", chat="template")


def write(text: str):
    def build(out: Path, scratch: Path) -> None:
        (out / "data.txt").write_text(text)

    return build


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "runs")


def test_an_artefact_explains_itself(store: Store) -> None:
    assert store.make(RECIPE, write("x"), lambda: {"why": "test"})
    names = {path.name for path in store.require(RECIPE).iterdir()}
    assert names == {"data.txt", "recipe.json", "provenance.json", "DONE"}
    assert Base.model_validate_json((store.folder(RECIPE) / "recipe.json").read_text()) == RECIPE


def test_it_is_made_once(store: Store) -> None:
    assert store.make(RECIPE, write("x"), dict)
    assert not store.make(RECIPE, write("y"), dict)
    assert not Store(store.root).make(RECIPE, write("y"), dict)
    assert (store.folder(RECIPE) / "data.txt").read_text() == "x"


def test_a_failed_build_publishes_nothing_and_keeps_its_scratch(store: Store) -> None:
    def build(out: Path, scratch: Path) -> None:
        (out / "data.txt").write_text("half")
        (scratch / "journal").write_text("kept")
        assert not (out / "DONE").exists()
        assert not store.folder(RECIPE).exists()
        raise RuntimeError("stop")

    with pytest.raises(RuntimeError):
        store.make(RECIPE, build, dict)
    assert not store.is_done(RECIPE)
    assert (store.work(RECIPE) / "journal").read_text() == "kept"

    def resumed(out: Path, scratch: Path) -> None:
        assert list(out.iterdir()) == []
        (out / "data.txt").write_text((scratch / "journal").read_text())

    assert store.make(RECIPE, resumed, dict)
    assert (store.folder(RECIPE) / "data.txt").read_text() == "kept"
    assert not store.work(RECIPE).exists()


@pytest.mark.parametrize("damage", ["change", "truncate", "delete", "add", "no DONE", "torn DONE"])
def test_damage_is_found_moved_aside_and_remade(store: Store, damage: str) -> None:
    store.make(RECIPE, write("original"), dict)
    data, done = store.folder(RECIPE) / "data.txt", store.folder(RECIPE) / "DONE"
    match damage:
        case "change":
            data.write_text("0riginal")
        case "truncate":
            data.write_text("orig")
        case "delete":
            data.unlink()
        case "add":
            data.with_name("more.txt").write_text("?")
        case "no DONE":
            done.unlink()
        case "torn DONE":
            done.write_text(done.read_text()[:-9])
    again = Store(store.root)
    assert not again.is_done(RECIPE)
    with pytest.raises(RunError, match="run the study again"):
        again.require(RECIPE)
    assert again.make(RECIPE, write("original"), dict)
    assert data.read_text() == "original"
    assert (store.root / "corrupt" / f"{RECIPE.id}.0").is_dir()


MAKE_SLOWLY = """
import sys, time
from pathlib import Path
from offmodel.store import Store
from offmodel.recipes import Base
def build(out, scratch):
    with open(sys.argv[2], "a") as log:
        log.write("built\\n")
    time.sleep(float(sys.argv[3]))
    (out / "data.txt").write_text("x")
recipe = Base(alias="thing", weights="sha256:1", chat="template")
made = Store(Path(sys.argv[1])).make(recipe, build, dict, on_wait=lambda: print("waiting", flush=True))
print("made" if made else "there")
"""


def start(store: Store, log: Path, seconds: float) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", MAKE_SLOWLY, str(store.root), str(log), str(seconds)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + 30
    while not path.exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_two_processes_make_one_artefact_once(store: Store, tmp_path: Path) -> None:
    log = tmp_path / "log"
    first = start(store, log, 1.5)
    wait_for(log)
    second = start(store, log, 1.5)
    assert second.communicate(timeout=30)[0].split() == ["waiting", "there"]
    assert first.communicate(timeout=30)[0].split() == ["made"]
    assert log.read_text() == "built\n"


def test_a_killed_process_leaves_no_lock_and_no_artefact(store: Store, tmp_path: Path) -> None:
    log = tmp_path / "log"
    process = start(store, log, 60)
    wait_for(log)
    process.kill()
    process.wait()
    assert not store.folder(RECIPE).exists()
    assert store.make(RECIPE, write("x"), dict)


def test_a_run_folder_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RequestError, match=r"cannot write to the run folder .*--runs DIR"):
        Store(tmp_path / "file" / "runs").check_writable(0)


def test_a_run_folder_without_room_is_refused(store: Store) -> None:
    with pytest.raises(RequestError, match=r"GB free and this study needs about 1000000000\.0 GB"):
        store.check_writable(10**18)


def test_a_journal_keeps_whole_entries_and_drops_a_torn_one(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    journal = Journal(path)
    journal.put("a", [1])
    journal.put("b", "ü")
    with path.open("ab") as file:
        file.write(b'{"key": "c", "val')
    reopened = Journal(path)
    assert (reopened.get("a"), reopened.get("b"), reopened.get("c")) == ([1], "ü", None)
    reopened.put("c", 3)
    assert Journal(path).get("c") == 3
