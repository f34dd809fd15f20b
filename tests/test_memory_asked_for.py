import pytest

from peerlearn import memory
from peerlearn.errors import InputError


@pytest.fixture
def group(tmp_path, monkeypatch):
    """The folder of groups; the machine has 4000 kB."""
    (tmp_path / "meminfo").write_text("MemTotal: 9 kB\nMemAvailable: 4000 kB\n")
    monkeypatch.setattr(memory, "MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(memory, "OWN_GROUPS", tmp_path / "own")
    monkeypatch.setattr(memory, "GROUPS", tmp_path / "groups")
    return tmp_path / "groups"


def limited(folder, limit, used, **stat):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "memory.max").write_text(f"{limit}\n")
    (folder / "memory.current").write_text(f"{used}\n")
    lines = [f"{name} {value}\n" for name, value in stat.items()]
    (folder / "memory.stat").write_text("".join(lines))


def test_available_memory_is_that_of_the_machine_or_of_its_container(group):
    assert memory.available_memory() == 4000 * 1024
    limited(group, "max", 1000)
    assert memory.available_memory() == 4000 * 1024
    limited(group, 3000, 1000)
    assert memory.available_memory() == 2000
    limited(group, 3000, 4000)
    assert memory.available_memory() == 0


def test_files_kept_in_memory_make_room(group):
    limited(group, 3000, 2900, anon=400, inactive_file=2000, active_file=500)
    assert memory.available_memory() == 2600


def test_the_tightest_of_the_groups_that_a_process_is_in_counts(group, tmp_path):
    (tmp_path / "own").write_text("0::/job/step\n")
    limited(group / "job" / "step", "max", 10)
    limited(group / "job", 500, 100)
    limited(group / "other", 5, 1)
    assert memory.available_memory() == 400


def test_groups_of_the_first_version(group, tmp_path):
    (tmp_path / "own").write_text("9:cpu,cpuacct:/x\n8:memory:/job\n")
    job = group / "memory" / "job"
    job.mkdir(parents=True)
    (job / "memory.limit_in_bytes").write_text("900")
    (job / "memory.usage_in_bytes").write_text("300")
    (job / "memory.stat").write_text("inactive_file 1\ntotal_inactive_file 200\n")
    assert memory.available_memory() == 800


def test_what_is_too_much_is_refused_in_words(monkeypatch):
    monkeypatch.setattr(memory, "available_memory", lambda: 2_100_000_000)
    memory.check_memory(2_100_000_000, "it")
    with pytest.raises(InputError, match=r"it: needs 3\.6 GB of memory, and 2\.1 GB are available"):
        memory.check_memory(3_600_000_000, "it")
    monkeypatch.setattr(memory, "available_memory", lambda: None)
    memory.check_memory(10**15, "it")


def test_sizes_in_words():
    sizes = (7, 1000, 3_600_000_000, 10**16)
    assert [*map(memory.in_words, sizes)] == ["7 bytes", "1 kB", "3.6 GB", "10,000 TB"]
