"""Writes revocations straight into the database of an STS that is stopped, for a benchmark that needs more of
them than it wants to ask for.

    python fill_revocations.py DATABASE ZONE_ID COUNT
"""

import sqlite3
import sys
import time


def main(path: str, zone: str, count: int) -> None:
    database = sqlite3.connect(path)
    (epoch,) = database.execute(
        "SELECT revocation_epoch FROM zones WHERE id = ?", (zone,)
    ).fetchone()
    now = int(time.time() * 1000)
    later = now + 3_600_000
    rows = (
        (zone, "jti", f"bench-{number}", 0, "bench", now, later, later, epoch + 1 + number)
        for number in range(count)
    )
    with database:
        database.executemany(
            "INSERT INTO revocations (zone_id, anchor_type, anchor_id, by_time, reason,"
            " revoked_at, published_until, kept_until, epoch) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            rows,
        )
        database.execute(
            "UPDATE zones SET revocation_epoch = ? WHERE id = ?", (epoch + count, zone)
        )
    database.close()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
