"""Copies an application in the database of an STS that is stopped, for a benchmark that needs more of them than
it wants to ask for.

    python fill_applications.py DATABASE APPLICATION_ID COUNT
"""

import sqlite3
import sys


def main(path: str, application: str, count: int) -> None:
    database = sqlite3.connect(path)
    with database:
        database.executemany(
            "INSERT INTO applications (id, zone_id, name, name_folded, registration_method, traits,"
            " secret_hash, created_at)"
            " SELECT ? , zone_id, ?, ?, registration_method, traits, secret_hash, created_at"
            " FROM applications WHERE id = ?",
            ((f"bench-{n}", f"bench-{n}", f"bench-{n}", application) for n in range(count)),
        )
    database.close()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
