"""The command as a whole: help, what it loads, exit codes, and how failures are reported."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import auditkit
from auditkit.cli import failing
from auditkit.cli.main import _ENTRIES, cli
from tests.cli.conftest import Run

COMMANDS = sorted(_ENTRIES)


def test_help_names_every_command(run: Run) -> None:
    """`auditkit --help` names all commands, each with a sentence, and examples."""
    shown = run("--help").stdout
    for name, entry in _ENTRIES.items():
        assert re.search(rf"^  {name} +{re.escape(entry.help)}$", shown, re.MULTILINE), name
    assert "auditkit init audit --retention 90d" in shown


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_with_examples(run: Run, name: str) -> None:
    """Each command says what it does, and shows at least one call of itself."""
    shown = run(name, "--help").stdout
    assert shown.startswith(f"Usage: auditkit {name}")
    assert re.search(rf"^  (.*\| )?auditkit {name}", shown.partition("\nExamples:\n")[2], re.MULTILINE)
    assert max(map(len, shown.splitlines())) <= 100
    documented = run(name, "-h").stdout
    assert documented == shown


@pytest.mark.parametrize("name", COMMANDS)
def test_examples_can_be_parsed(run: Run, name: str) -> None:
    """Every option that an example uses is an option of that command."""
    examples = run(name, "--help").stdout.partition("\nExamples:\n")[2]
    command = cli.get_command(cli.make_context("auditkit", [], resilient_parsing=True), name)
    assert command is not None
    known = {option for parameter in command.params for option in parameter.opts} | {"--help"}
    for call in re.findall(rf"auditkit {name} ([^|\n]*)", re.sub(r"\\\n +", " ", examples)):
        used = set(re.findall(r"(?<!\S)--?[a-z][a-z-]*", call.partition("-- ")[0]))
        assert used <= known, used - known


def test_exit_codes_are_in_one_table(run: Run) -> None:
    """The help and the README say the same of every exit code there is."""
    codes = {value for name, value in vars(failing).items() if name.isupper() and isinstance(value, int)}
    assert failing.EXIT_CODES.keys() == codes | {0}
    help_text = " ".join(run("--help").stdout.split())
    readme = (Path(auditkit.__file__).parents[1] / "README.md").read_text()
    for code, meaning in failing.EXIT_CODES.items():
        assert f"{code} {meaning}" in help_text
        assert f"| {code} | {meaning} |" in readme


def test_help_loads_nothing_heavy() -> None:
    """`auditkit --help` imports neither Polars nor Arrow nor rich nor any command."""
    code = (
        "import sys\n"
        "from auditkit.cli.main import cli\n"
        "try: cli(['--help'])\n"
        "except SystemExit: pass\n"
        "loaded = {m.partition('.')[0] for m in sys.modules} & {'polars', 'pyarrow', 'rich', 'msgspec', 'sqlite3'}\n"
        "loaded |= {m for m in sys.modules if m.startswith('auditkit.trail')}\n"
        "sys.exit(f'loaded {sorted(loaded)}' if loaded else 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_version(run: Run) -> None:
    """`--version` says the version."""
    assert run("--version").stdout.startswith("auditkit, version ")


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        (["grop-by", "actor"], 2, "No such command 'grop-by'. Did you mean group-by?"),
        (["policy", "10d"], 2, "No such command '10d' (there are set, show)."),
        (["consumers", "forgt"], 2, "No such command 'forgt'; did you mean 'forget'? (there are forget, list)."),
        (["range", "--stat", "-1h"], 2, "No such option"),
        (["range", "--start", "Monday"], 2, "start: is not ISO 8601; 2026-11-24T07:30:00Z would be read (found 'Monday')"),
        (["range", "--start", "2026-01-02", "--end", "2026-01-01"], 2, "start: lies after the end"),
        (["range", "--tz", "Mars/Olympus"], 2, "not the name of a time zone"),
        (["range", "--where", "actor"], 2, "not of the form key=value"),
        (["range", "--where", "who=ann"], 2, "where: is not a column of these events (found 'who')"),
        (["range", "--where", "actor=ann", "--where", "actor=bob"], 2, "--where actor is given twice"),
        (["range", "--where", "actor!=ann", "--where", "actor!=bob"], 2, "for none of them 'actor!="),
        (["range", "--where", "text="], 2, "where text: holds no word"),
        (["range", "--where", 'actor={"like": "a"}'], 2, "is a mapping of another form than {'not': …}"),
        (["range", "--columns", "ts,who"], 2, "who"),
        (["range", "--limit", "0"], 2, "not in the range"),
        (["group-by", "who"], 2, "who"),
        (["group-by", "actor", "--every", "1x"], 2, "1x"),
        (["group-by", "actor", "--sort", "size"], 2, "--sort 'size' is not a column"),
        (["downsample", "1h", "--fill", "much"], 2, "--fill expects null, forward or a number"),
        (["sql", "SELECT nope FROM events"], 2, "nope"),
        (["sql", "DROP TABLE events"], 2, "only SELECT is answered"),
        (["tail", "--at", "99"], 2, "99"),
        (["stats", "--trail", "nowhere"], 1, "nowhere: no trail here"),
        (["init"], 1, "there is a trail already"),
        (["init", "new", "--retention", "soon"], 2, "soon"),
        (["init", "new", "--field", "amount=decimal"], 2, "unknown type 'decimal'"),
        (["init", "new", "--field", "actor=string"], 2, "bad name"),
        (["init", "new", "--field", "text=string"], 2, "bad name"),
        (["append"], 2, "Missing --action"),
        (["append", "--action", ""], 1, "action: missing"),
        (["append", "--action", "x", "--ts", "2026-01-01 10:00"], 1, "ts: has no time zone"),
        (["append", "--action", "x", "--field", "amount=5"], 1, "amount: not a field of an event"),
        (["append", "--action", "x", "--attr", "a=1", "--attrs", "{}"], 2, "not both"),
        (["append", "events.jsonl"], 2, "Unexpected argument"),
        (["import", "missing.jsonl"], 2, "does not exist"),
        (["prune", "--now", "2100-01-01", "--yes"], 2, "ahead of the machine's clock"),
        (["record"], 2, "Missing argument"),
        (["record", "--", "no-such-program"], 1, "no-such-program: cannot be started"),
        (["report", "no-such-notebook"], 1, "no-such-notebook"),
    ],
)  # fmt: skip
def test_failures(filled: Run, args: list[str], code: int, said: str, tmp_path: Path) -> None:
    """What cannot be done is reported on standard error, without traceback, and the exit code says whose fault it is."""
    if args[-1] == "init":
        args = [*args, str(tmp_path / "audit")]
    result = filled(*args, code=code)
    assert result.stdout == ""
    assert said in result.stderr
    assert "Error: " in result.stderr


def test_a_trail_must_be_named(run: Run) -> None:
    """Without --trail and AUDITKIT_TRAIL a command says what to give."""
    result = run("stats", code=2, AUDITKIT_TRAIL="")
    assert "give --trail PATH, or set AUDITKIT_TRAIL" in result.stderr


def test_hints_travel_with_errors(filled: Run) -> None:
    """The advice of an error is reported below it."""
    assert "  hint: write it like '2026-11-24'" in filled("range", "--start", "x", code=2).stderr


def test_errors_do_not_repeat_control_characters(filled: Run) -> None:
    """What an error quotes reaches the terminal as visible text."""
    result = filled("range", "--where", "\x1b[31mwho\x1b[0m=1", code=2)
    assert "\x1b" not in result.stderr
    result = filled("append", "--action", "x", "--ts", "\x9b31m2026", code=1)
    assert "\x9b" not in result.stderr


def test_damage_is_told_with_its_place(filled: Run, place: Path) -> None:
    """A damaged file is an error that names it."""
    (place / "catalog.sqlite").write_bytes(b"no database")
    assert "catalog.sqlite" in filled("stats", code=1).stderr
