import hashlib

import pytest

from utils.digests import digest_of


def test_is_the_sha256_of_sizes_and_contents():
    parts = "".join(f"{len(part):02x}" + "00" * 7 + part.hex() for part in (b"\xc3\xbc", b"abc"))
    assert digest_of(["ü", b"abc"]) == hashlib.sha256(bytes.fromhex(parts)).hexdigest()
    assert digest_of([memoryview(b"\xc3\xbc"), "abc"]) == digest_of(["ü", b"abc"])


@pytest.mark.parametrize("other", [["ab", "c"], ["abc", ""], ["abd"], [], ["\ud800"]])
def test_other_contents_and_other_parts_have_another_one(other):
    assert digest_of(other) != digest_of(["abc"])
