"""A tiny harmless program to be recorded: it writes a table, adds it up, asks `date`, and looks for a server in vain."""

import csv
import json
import socket
import subprocess
from pathlib import Path

ORDERS = [("north", 120.0), ("south", 80.5), ("north", 42.0), ("marine", 310.0), ("south", 19.5)]

with Path("orders.csv").open("w", newline="") as table:
    csv.writer(table).writerows([("segment", "amount"), *ORDERS])

totals: dict[str, float] = {}
with Path("orders.csv").open(newline="") as table:
    for row in csv.DictReader(table):
        totals[row["segment"]] = totals.get(row["segment"], 0.0) + float(row["amount"])

asked = subprocess.run(["date", "+%F"], capture_output=True, text=True, check=True)  # noqa: S607 - any will do
Path("totals.json").write_text(json.dumps({"day": asked.stdout.strip(), "totals": totals}, indent=2))

try:
    socket.create_connection(("127.0.0.1", 9), timeout=1).close()
except OSError:
    print("nobody listens on the discard port, as it should be")  # noqa: T201 - a program, not the library

Path("orders.csv").unlink()
