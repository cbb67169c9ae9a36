"""Writes the golden bytes of records that have none yet: python tests/contract/write_golden.py

A file that is there is never changed: what was once written must be readable for ever.
"""

import sys
from pathlib import Path

GOLDEN = Path(__file__).parent / "golden"


def main() -> None:
    from schemas import encode
    from schemas.examples import EXAMPLES

    GOLDEN.mkdir(exist_ok=True)
    for name, record in EXAMPLES.items():
        for encoding in ("msgpack", "json"):
            path = GOLDEN / f"{name}.{encoding}"
            if not path.exists():
                path.write_bytes(encode(record, encoding))
                print(path.relative_to(Path.cwd()))


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))
    main()
