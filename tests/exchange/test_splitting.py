"""Files cut into lines and elements: the same wherever the chunks are cut, and never much in memory."""

from __future__ import annotations

import io
import json
import tracemalloc
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.exchange.given import Unusable
from monitor.exchange.splitting import NotThisFormat, chunks, elements, lines

TEXTS = st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from('"\\[]{},\n'), max_size=12)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)


def cut(content: bytes, size: int) -> Iterator[bytes]:
    return (content[start : start + size] for start in range(0, len(content), size))


@given(st.lists(VALUES, max_size=5), st.integers(1, 40), st.booleans(), st.sampled_from([None, 2]))
def test_elements_are_those_of_the_array(values: list[Any], size: int, ascii_: bool, indent: int | None) -> None:
    content = json.dumps(values, ensure_ascii=ascii_, indent=indent).encode()
    assert [json.loads(found) for found in elements(cut(content, size)) if isinstance(found, bytes)] == values


@given(st.dictionaries(TEXTS, VALUES, max_size=4), st.integers(1, 40))
def test_a_file_that_is_one_object_is_its_only_element(value: dict[str, Any], size: int) -> None:
    content = b" \n" + json.dumps(value).encode() + b"\n"
    found = list(elements(cut(content, size)))
    assert [json.loads(one) for one in found if isinstance(one, bytes)] == [value]


@given(st.lists(st.binary(max_size=9).map(lambda b: b.replace(b"\n", b"")), max_size=6), st.integers(1, 12))
def test_lines_are_those_of_the_file(parts: list[bytes], size: int) -> None:
    content = b"\n".join(parts)
    assert list(lines(cut(content, size))) == io.BytesIO(content).readlines()


@pytest.mark.parametrize(
    "content",
    [b"", b"  ", b"7", b'"t"', b"[1,2", b"[1]]", b"[1] 2", b"[1][2]", b"x[1]", b'{"a":1}{"b":2}', b"}", b"],", b'["'],
)
@pytest.mark.parametrize("size", [1, 100])
def test_what_is_no_array_is_said(content: bytes, size: int) -> None:
    with pytest.raises(NotThisFormat, match=r"one JSON array|ends before"):
        list(elements(cut(content, size)))


def test_a_byte_order_mark_is_passed_over_and_utf_16_is_said() -> None:
    assert b"".join(chunks(io.BytesIO(b"\xef\xbb\xbf[1]"))) == b"[1]"
    for encoding in ("utf-16", "utf-16-le", "utf-16-be", "utf-32"):
        with pytest.raises(NotThisFormat, match="UTF-16"):
            list(chunks(io.BytesIO("[1]".encode(encoding))))
    assert list(chunks(io.BytesIO(b""))) == []


@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_what_is_too_long_is_passed_over_and_the_rest_is_read(size: int) -> None:
    content = json.dumps([1, "x" * 500, {"a": ["y" * 500]}, 2]).encode()
    found = list(elements(cut(content, size), most=100))
    assert [type(one) for one in found] == [bytes, Unusable, Unusable, bytes]
    found = list(lines(cut(b"a\n" + b"x" * 500 + b"\nb\n" + b"y" * 500, size), most=100))
    assert [one if isinstance(one, bytes) else one.reason for one in found] == [b"a\n", "oversize", b"b\n", "oversize"]


@pytest.mark.parametrize("split", [elements, lines])
def test_a_file_of_any_size_takes_little_memory(split: Any) -> None:
    element = b'{"data": {"text": "' + b"x" * 4000 + b'"}}'
    endless = b"x" * (1 << 18)

    def file() -> Iterator[bytes]:
        yield b"["
        for _ in range(4000):  # 16 MB of elements, then 32 MB of one
            yield element + b",\n"
        yield b'"'
        for _ in range(128):
            yield endless
        yield b'"]'

    tracemalloc.start()
    count = sum(1 for _ in split(file(), most=1 << 20))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert count == 4001
    assert peak < 6 << 20
