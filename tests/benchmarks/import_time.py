"""How long `import auditkit` takes beside `import sqlite3, json`: whole processes, interleaved, medians.

python tests/benchmarks/import_time.py [ROUNDS]
"""

import statistics
import subprocess
import sys
import time

STATEMENTS = {"auditkit": "import auditkit", "sqlite3, json": "import sqlite3, json", "nothing": "pass"}


def seconds(statement: str) -> float:
    """Return how long a fresh interpreter takes to run one statement."""
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", statement], check=True)
    return time.perf_counter() - started


def main() -> None:
    """Measure every statement once per round, in turn, and print medians and the ratio."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 25
    taken: dict[str, list[float]] = {name: [] for name in STATEMENTS}
    for _ in range(rounds + 1):
        for name, statement in STATEMENTS.items():
            taken[name].append(seconds(statement))
    medians = {name: statistics.median(times[1:]) for name, times in taken.items()}
    for name, median in medians.items():
        sys.stdout.write(f"{name:<14} {median * 1e3:7.1f} ms\n")
    sys.stdout.write(f"auditkit / (sqlite3, json): {medians['auditkit'] / medians['sqlite3, json']:.2f}\n")


if __name__ == "__main__":
    main()
