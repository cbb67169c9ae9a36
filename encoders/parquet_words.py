"""The words of a parquet file that has one column of text: as much of the format as that takes.

The one package of GloVe vectors keeps its vocabulary so; a library that reads parquet weighs
half as much as torch. Read is: one row group, one column of type BYTE_ARRAY that may be null
but is not, data pages of version 1, plain or by a dictionary, without compression or in
Snappy. Anything else is a ValueError that says what was met.

Formats: parquet (github.com/apache/parquet-format: README, Encodings, thrift), Thrift's compact
protocol, Snappy (google/snappy: format_description).
"""

import struct
from collections.abc import Iterator
from typing import Any

_DATA, _DICTIONARY = 0, 2  # of PageType
_PLAIN, _PLAIN_DICTIONARY, _RLE_DICTIONARY = 0, 2, 8  # of Encoding
_RAW, _SNAPPY = 0, 1  # of CompressionCodec
_BYTE_ARRAY = 6  # of Type
Fields = dict[int, Any]


def words_of(data: bytes) -> list[str]:
    """Every value of the column, in order. Raises ValueError."""
    try:
        return _words_of(data)
    except (IndexError, KeyError, struct.error, TypeError, UnicodeDecodeError) as error:
        raise ValueError(f"not a parquet file of one column of text: {error!r}") from error


def _words_of(data: bytes) -> list[str]:
    if data[:4] != b"PAR1" or data[-4:] != b"PAR1":
        raise ValueError("not a parquet file: no PAR1 at both ends")
    (size,) = struct.unpack("<I", data[-8:-4])
    footer, _ = _struct(data, len(data) - 8 - size)
    groups = footer[4]
    if len(groups) != 1 or len(groups[0][1]) != 1:
        raise ValueError("more than one row group or column")
    column: Fields = groups[0][1][0][3]
    codec = column[4]
    if column[1] != _BYTE_ARRAY or codec not in (_RAW, _SNAPPY):
        raise ValueError(
            f"a column of type {column[1]}, codec {codec}; expected text, Snappy"
        )
    at, dictionary, words = (
        int(column[11] if 11 in column else column[9]),
        list[str](),
        list[str](),
    )
    while len(words) < column[5]:
        head, at = _struct(data, at)
        packed = data[at : at + head[3]]
        at += head[3]
        page = unsnapped(packed) if codec == _SNAPPY else packed
        if head[1] == _DICTIONARY:
            dictionary = _plain(page, 0, head[7][1])
        else:
            words += _data_page(page, head, dictionary)
    return words


def _data_page(page: bytes, head: Fields, dictionary: list[str]) -> list[str]:
    if head[1] != _DATA:
        raise ValueError(f"a page of type {head[1]}; expected version 1")
    count, encoding = head[5][1], head[5][2]
    (levels,) = struct.unpack_from("<I", page, 0)  # of definition: 1 where not null
    if not all(_runs(page[4 : 4 + levels], bits=1, count=count)):
        raise ValueError("a null among the words")
    at = 4 + levels
    if encoding == _PLAIN:
        return _plain(page, at, count)
    if encoding not in (_PLAIN_DICTIONARY, _RLE_DICTIONARY):
        raise ValueError(f"values in encoding {encoding}; expected plain or by dictionary")
    return [
        dictionary[place] for place in _runs(page[at + 1 :], bits=page[at], count=count)
    ]


def _plain(page: bytes, at: int, count: int) -> list[str]:
    words = []
    for _ in range(count):
        (size,) = struct.unpack_from("<I", page, at)
        words.append(page[at + 4 : at + 4 + size].decode())
        at += 4 + size
    return words


def _runs(data: bytes, *, bits: int, count: int) -> Iterator[int]:
    """The hybrid of run lengths and packed bits: `count` numbers of so many bits."""
    at, size = 0, (bits + 7) // 8
    while count > 0:
        head, at = _varint(data, at)
        if head & 1:
            packed = int.from_bytes(data[at : at + (head >> 1) * bits], "little")
            at += (head >> 1) * bits
            held = min(count, (head >> 1) * 8)
            yield from ((packed >> (n * bits)) & ((1 << bits) - 1) for n in range(held))
        else:
            held = min(count, head >> 1)
            number = int.from_bytes(data[at : at + size], "little")
            at += size
            yield from (number for _ in range(held))
        count -= held


def unsnapped(data: bytes) -> bytes:
    """What a raw Snappy block holds. Raises ValueError where it does not hold what it says."""
    size, at = _varint(data, 0)
    out = bytearray()
    while at < len(data):
        tag = data[at]
        at += 1
        if tag & 3 == 0:  # a literal
            length = (tag >> 2) + 1
            if length > 60:
                extra = length - 60
                length = int.from_bytes(data[at : at + extra], "little") + 1
                at += extra
            out += data[at : at + length]
            at += length
            continue
        if tag & 3 == 1:
            length, back = ((tag >> 2) & 7) + 4, (tag >> 5 << 8) | data[at]
            at += 1
        else:
            length, wide = (tag >> 2) + 1, 2 if tag & 3 == 2 else 4
            back = int.from_bytes(data[at : at + wide], "little")
            at += wide
        if not 0 < back <= len(out):
            raise ValueError("broken Snappy: a copy from before the beginning")
        start = len(out) - back
        while length > 0:  # a copy may reach into what it writes
            piece = out[start : start + length]
            out += piece
            length -= len(piece)
    if len(out) != size:
        raise ValueError(f"broken Snappy: {len(out)} bytes, it says {size}")
    return bytes(out)


def _varint(data: bytes, at: int) -> tuple[int, int]:
    number = shift = 0
    while True:
        byte = data[at]
        at += 1
        number |= (byte & 127) << shift
        if byte < 128:
            return number, at
        shift += 7


def _struct(data: bytes, at: int) -> tuple[Fields, int]:
    """A struct in Thrift's compact protocol: its fields by number."""
    fields: Fields = {}
    number = 0
    while (head := data[at]) != 0:
        at += 1
        if head >> 4:
            number += head >> 4
        else:
            zigzag, at = _varint(data, at)
            number = (zigzag >> 1) ^ -(zigzag & 1)
        kind = head & 15
        if kind in (1, 2):
            fields[number] = kind == 1
        else:
            fields[number], at = _value(data, at, kind)
    return fields, at + 1


def _value(data: bytes, at: int, kind: int) -> tuple[Any, int]:
    if kind in (1, 2, 3):  # booleans within a list, and a byte
        return data[at], at + 1
    if kind in (4, 5, 6):
        zigzag, at = _varint(data, at)
        return (zigzag >> 1) ^ -(zigzag & 1), at
    if kind == 8:
        size, at = _varint(data, at)
        return data[at : at + size], at + size
    if kind in (9, 10):
        return _list(data, at)
    if kind == 12:
        return _struct(data, at)
    raise ValueError(f"a Thrift value of kind {kind}")


def _list(data: bytes, at: int) -> tuple[list[Any], int]:
    size, kind = data[at] >> 4, data[at] & 15
    at += 1
    if size == 15:
        size, at = _varint(data, at)
    values = []
    for _ in range(size):
        value, at = _value(data, at, kind)
        values.append(value)
    return values, at
