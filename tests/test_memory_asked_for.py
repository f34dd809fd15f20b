import pytest

from peerlearn import memory
from peerlearn.errors import InputError


def test_available_memory_is_that_of_the_machine_or_of_its_container(tmp_path, monkeypatch):
    for name, text in (("meminfo", "MemTotal: 9 kB\nMemAvailable: 4000 kB\n"), ("used", "1000")):
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(memory, "MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(memory, "GROUPS", [(tmp_path / "limit", tmp_path / "used")])
    assert memory.available_memory() == 4000 * 1024
    (tmp_path / "limit").write_text("max")
    assert memory.available_memory() == 4000 * 1024
    (tmp_path / "limit").write_text("3000")
    assert memory.available_memory() == 2000


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
