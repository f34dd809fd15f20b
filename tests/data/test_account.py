from peerlearn.data.account import Account, LeftOut
from peerlearn.data.registry import load_dataset
from peerlearn.data.spec import DataSpec


def test_nothing_to_say_is_nothing_said():
    assert Account().lines() == []
    assert load_dataset(DataSpec(name="digits")).account == Account()


def test_an_account_tells_what_was_read_left_out_and_decided():
    names = tuple(f"train/cat/{number}.txt" for number in range(7))
    left_out = (LeftOut("not an image", names), LeftOut("hidden", (".DS_Store",)))
    account = Account({"train": 1200, "test": 1}, left_out, ("Labels 1 to 3 are classes 0 to 2.",))
    assert account.lines() == [
        "read 1,201 files: train 1,200, test 1",
        "left out 7 (not an image): train/cat/0.txt, train/cat/1.txt, train/cat/2.txt, "
        "train/cat/3.txt, train/cat/4.txt and 2 more",
        "left out 1 (hidden): .DS_Store",
        "Labels 1 to 3 are classes 0 to 2.",
    ]


def test_accounts_add_up():
    first = Account({"train": 3}, (LeftOut("hidden", ("a", "b")),), ("one", "two"))
    second = Account({"train": 2, "val": 1}, (LeftOut("hidden", ("c",)),), ("two",))
    assert first + second == Account(
        {"train": 5, "val": 1}, (LeftOut("hidden", ("a", "b", "c")),), ("one", "two")
    )
    assert first + Account() == first
