import pytest

from dadnet.base.digests import checked_content, code_digest, source_digest, with_checksum
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


def write(folder, files):
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def test_the_digest_of_sources_depends_on_names_contents_and_torch_but_not_on_ends_of_lines(
    tmp_path,
):
    files = {"a.py": b"x = 1\ny = 2\n", "sub/b.py": b"z = 3\n", "data.csv": b"1,2"}
    one = source_digest(write(tmp_path / "one", files), "2.0")
    crlf = {name: content.replace(b"\n", b"\r\n") for name, content in files.items()}
    assert source_digest(write(tmp_path / "two", {**crlf, "data.csv": b"3"}), "2.0") == one
    assert source_digest(tmp_path / "one", "2.1") != one
    others = [
        {**files, "a.py": b"x = 1\ny = 3\n"},
        {**files, "sub/c.py": b""},
        {"a.py": files["a.py"], "b.py": files["sub/b.py"]},
    ]
    for number, other in enumerate(others):
        assert source_digest(write(tmp_path / f"other{number}", other), "2.0") != one


def test_the_code_has_one_digest_in_a_process():
    assert code_digest() is code_digest()
