"""Old nights are deleted on request, and nothing that no night has written."""

from harness.results import pruning
from harness.results.pruning import FILES, prune


def night(out, day: int, *others):
    folder = out / f"nightly-202611{day:02d}T023000Z"
    (folder / "kick_on_busy-20261126-023001").mkdir(parents=True)
    (folder / "kick_on_busy-20261126-023001/result.json").write_text("{}")
    for name in (*FILES, *others):
        (folder / name).write_text("")
    return folder


def test_the_last_nights_stay(tmp_path):
    nights = [night(tmp_path, day) for day in range(1, 6)]
    (tmp_path / "kick_vcpus-20261101-000000").mkdir()
    assert prune(tmp_path, 4) == ["deleted 1 night before the last 4"]
    assert prune(tmp_path, 2) == ["deleted 2 nights before the last 2"]
    assert sorted(tmp_path.iterdir()) == [tmp_path / "kick_vcpus-20261101-000000", *nights[3:]]
    assert prune(tmp_path, 2) == []


def test_a_folder_with_something_else_in_it_stays(tmp_path):
    first, second, third = night(tmp_path, 1, "notes.txt"), night(tmp_path, 2), night(tmp_path, 3)
    (second / "kick_on_busy-20261126-023001/core").write_text("")
    assert prune(tmp_path, 1) == [f"{first}: kept, as notes.txt in it is none of a night's files",
                                  f"{second}: kept, as core in it is none of a night's files"]
    assert first.exists() and second.exists() and third.exists()


def test_what_comes_into_a_folder_while_it_is_deleted_stays(tmp_path, monkeypatch):
    first, second = night(tmp_path, 1), night(tmp_path, 2)
    foreign = pruning._foreign

    def late(folder):
        found = foreign(folder)
        (folder / "kick_on_busy-20261126-023001/mine").write_text("")
        return found
    monkeypatch.setattr(pruning, "_foreign", late)
    assert prune(tmp_path, 1) == [f"{first}: cannot be deleted: Directory not empty"]
    assert (first / "kick_on_busy-20261126-023001/mine").exists() and second.exists()


def test_nothing_behind_a_link_is_deleted(tmp_path):
    elsewhere = night(tmp_path / "elsewhere", 1)
    out = tmp_path / "out"
    out.mkdir()
    (out / elsewhere.name).symlink_to(elsewhere)
    inside = night(out, 2)
    (inside / "linked").symlink_to(elsewhere)
    night(out, 3)
    assert len(prune(out, 1)) == 1 and (elsewhere / "junit.xml").exists() and inside.exists()
