import pytest

from dadnet.base.digests import checked_content, with_checksum
from dadnet.base.errors import DadnetError


@pytest.mark.parametrize("content", [b"", b"\n", b"a content\x00\xff"])
def test_a_content_comes_back_and_any_changed_bit_is_found(content):
    data = with_checksum(content)
    assert checked_content(data) == content
    for bit in range(8 * len(data)):
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(DadnetError, match="checksum"):
            checked_content(bytes(damaged))
    for cut in range(len(data)):
        with pytest.raises(DadnetError, match="checksum"):
            checked_content(data[:cut])


def test_a_content_alone_has_no_checksum():
    with pytest.raises(DadnetError, match="it has no checksum"):
        checked_content(b"a content")
