"""Checksums: what sha256sum says, kept by path, size and time."""

import hashlib
import os
import shutil

from cytoloom.checksums import checksums, sha256_of, tree_sha256


def test_they_are_those_of_the_content(tmp_path):
    (tmp_path / "store" / "c").mkdir(parents=True)
    for name, content in (("a", b"one"), ("store/x", b"two"), ("store/c/y", b"")):
        (tmp_path / name).write_bytes(content)
    found = checksums([tmp_path / "a", tmp_path / "store", tmp_path / "a"])
    assert [(c.path, c.size) for c in found] == [
        (str(tmp_path / "a"), 3),
        (str(tmp_path / "store" / "c" / "y"), 0),
        (str(tmp_path / "store" / "x"), 3),
    ]
    assert found[0].sha256 == hashlib.sha256(b"one").hexdigest() == sha256_of(tmp_path / "a")


def test_they_are_kept_until_the_file_changes(tmp_path):
    file, cache = tmp_path / "a", tmp_path / "cache"
    file.write_bytes(b"one")
    (first,) = checksums([file], cache=cache)
    about = file.stat()
    file.write_bytes(b"two")  # the same size
    os.utime(file, ns=(about.st_atime_ns, about.st_mtime_ns))
    assert checksums([file], cache=cache) == [first]  # size and time are the same
    assert checksums([file], cache=cache, verify=True)[0].sha256 == sha256_of(file)
    file.write_bytes(b"three")
    assert checksums([file], cache=cache)[0].sha256 == sha256_of(file)


def test_a_damaged_cache_is_computed_anew(tmp_path):
    file, cache = tmp_path / "a", tmp_path / "cache"
    file.write_bytes(b"one")
    checksums([file], cache=cache)
    for kept in cache.iterdir():
        kept.write_text("[]")
    assert checksums([file], cache=cache)[0].sha256 == sha256_of(file)


def test_one_file_of_the_cache_for_a_folder(tmp_path):
    cache, folder = tmp_path / "cache", tmp_path / "plate"
    folder.mkdir()
    for n in range(20):
        (folder / f"{n}.tif").write_bytes(b"%d" % n)
    first = checksums(sorted(folder.iterdir()), cache=cache)
    assert len(list(cache.iterdir())) == 1
    (folder / "new.tif").write_bytes(b"new")
    again = checksums([*sorted(folder.glob("[0-9]*")), folder / "new.tif"], cache=cache)
    assert again[:-1] == first
    assert len(list(cache.iterdir())) == 1
    assert checksums([folder / "new.tif"], cache=cache) == again[-1:]


def test_a_folder_has_one_wherever_it_lies(tmp_path):
    store = tmp_path / "store"
    store.mkdir()
    (store / "x").write_bytes(b"two")
    (store / "y").write_bytes(b"three")
    copy = shutil.copytree(store, tmp_path / "elsewhere" / "copy")
    digest = tree_sha256(checksums([store]), store)
    assert digest == tree_sha256(checksums([copy]), copy)
    (copy / "x").rename(copy / "z")
    assert digest != tree_sha256(checksums([copy]), copy)
