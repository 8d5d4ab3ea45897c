"""How much memory there is, by the machine and by control groups, over made-up files of the kernel."""

from pathlib import Path

import pytest

from auditkit.memory import available_memory

MIB = 1 << 20


def machine(root: Path, files: dict[str, str], *, group: str, available_mib: int = 8000) -> Path:
    """Lay out `proc` and `sys/fs/cgroup` below `root`."""
    kernel = {
        "proc/meminfo": f"MemTotal: 16384000 kB\nMemAvailable: {available_mib * 1024} kB\n",
        "proc/self/cgroup": group,
        **{f"sys/fs/cgroup/{name}": text for name, text in files.items()},
    }
    for name, text in kernel.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def group_v2(folder: str, *, most: str, used_mib: int, inactive_mib: int = 0) -> dict[str, str]:
    """Return the files of a group of version 2."""
    return {
        f"{folder}memory.max": f"{most}\n",
        f"{folder}memory.current": f"{used_mib * MIB}\n",
        f"{folder}memory.stat": f"anon 1\ninactive_file {inactive_mib * MIB}\nactive_file 5\n",
    }


def test_a_machine_without_limits(tmp_path: Path) -> None:
    """Where no group has a limit, Linux' own figure counts."""
    files = group_v2("user/", most="max", used_mib=900)
    assert available_memory(machine(tmp_path, files, group="0::/user\n")) == 8000 * MIB


def test_a_container_of_version_2(tmp_path: Path) -> None:
    """A limit leaves what is not used, and pages of files that can be dropped do not count as used."""
    files = group_v2("", most=str(512 * MIB), used_mib=400, inactive_mib=100)
    assert available_memory(machine(tmp_path, files, group="0::/\n")) == 212 * MIB


def test_a_limit_above_holds_too(tmp_path: Path) -> None:
    """The tightest of a group's and its parents' limits counts, and so does a limit from which Linux throttles."""
    files = group_v2("a/b/", most=str(900 * MIB), used_mib=10) | group_v2(
        "a/", most=str(64 * MIB), used_mib=40
    )
    root = machine(tmp_path, files, group="0::/a/b\n")
    assert available_memory(root) == 24 * MIB
    (root / "sys/fs/cgroup/a/b/memory.high").write_text(f"{18 * MIB}\n")
    assert available_memory(root) == 8 * MIB


def test_a_container_of_version_1(tmp_path: Path) -> None:
    """Version 1 has the memory controller in a folder of its own; a path of the host's leads to the root."""
    files = {
        "memory/memory.limit_in_bytes": f"{256 * MIB}\n",
        "memory/memory.usage_in_bytes": f"{200 * MIB}\n",
        "memory/memory.stat": f"cache 1\ntotal_inactive_file {20 * MIB}\ninactive_file 3\n",
    }
    group = "5:cpu,cpuacct:/docker/1f\n4:memory:/docker/1f\n0::/docker/1f\n"
    assert available_memory(machine(tmp_path, files, group=group)) == 76 * MIB


def test_no_limit_of_version_1(tmp_path: Path) -> None:
    """Version 1 writes no limit as a huge number, which changes nothing."""
    files = {"memory/memory.limit_in_bytes": "9223372036854771712\n", "memory/memory.usage_in_bytes": "1\n"}
    assert available_memory(machine(tmp_path, files, group="4:memory:/\n")) == 8000 * MIB


def test_a_group_that_is_full(tmp_path: Path) -> None:
    """A group beyond its limit leaves nothing, not less."""
    files = group_v2("", most=str(64 * MIB), used_mib=70)
    assert available_memory(machine(tmp_path, files, group="0::/\n")) == 0


@pytest.mark.parametrize("group", ["", "1:name=systemd:/\n"])
def test_a_kernel_without_the_memory_controller(tmp_path: Path, group: str) -> None:
    """Without control groups Linux' own figure counts."""
    assert available_memory(machine(tmp_path, {}, group=group)) == 8000 * MIB


def test_this_machine() -> None:
    """On the machine that runs the tests there is some memory."""
    assert available_memory() > MIB
