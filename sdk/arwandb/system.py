"""System metrics: what /proc, the file system and nvidia-smi say of this machine, under `system/*`, by a thread of its own."""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from .late import loading

_FIRST_S = 1.0
_GPU_TIMEOUT_S = 2.0
_GPU_QUERY = "index,utilization.gpu,memory.used,memory.total,power.draw,temperature.gpu"
_SECTOR = 512
_GIB = 2**30
# No machine has as much of anything; version 1 of cgroups says 2^63 where there is no limit.
_UNLIMITED = 2.0**60


class Sampler:
    """Takes a sample each `interval` seconds, the first after one, and puts it into the queue with its own step."""

    def __init__(self, queue: deque[Any], interval: float) -> None:
        self._queue, self._interval = queue, interval
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample_forever, name="arwandb-system", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """No further sample is taken; a running one may still come in."""
        self._stop.set()

    def _sample_forever(self) -> None:
        machine = Machine()
        machine.sample()
        wait, step = min(_FIRST_S, self._interval), 0
        while not self._stop.wait(wait):
            metrics = machine.sample()
            if metrics and not self._stop.is_set() and len(self._queue) < 10_000:
                self._queue.append((metrics, step, time.time(), True))
            wait, step = self._interval, step + 1


class Machine:
    """Reads the sources. One that is missing or makes no sense is left out, and not asked again after three times.

    Rates are over the time since the last sample.
    """

    def __init__(self, root: str = "", clock: Callable[[], float] = time.monotonic) -> None:
        self._root, self._clock = root, clock
        self._faults: dict[str, int] = {}
        self._before: dict[str, float] = {}
        self._before_at = 0.0
        self._gpu = _find_program("nvidia-smi")
        self._pages = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096
        self._ticks = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100

    def sample(self) -> dict[str, Any]:
        """What all sources say now."""
        metrics: dict[str, Any] = {}
        totals: dict[str, float] = {}
        now = self._clock()
        for source in (
            self._cpu,
            self._memory,
            self._process,
            self._disk,
            self._disk_io,
            self._network,
            self._cgroup,
            self._gpus,
        ):
            name = source.__name__
            if self._faults.get(name, 0) >= 3:
                continue
            try:
                source(metrics, totals)
            except Exception:  # noqa: BLE001 - a source that is not there, or not as we know it
                self._faults[name] = self._faults.get(name, 0) + 1
        self._rates(metrics, totals, now)
        self._before, self._before_at = totals, now
        return metrics

    def _rates(self, metrics: dict[str, Any], totals: dict[str, float], now: float) -> None:
        elapsed = now - self._before_at
        if not self._before or elapsed <= 0:
            return
        change = {name: totals[name] - self._before[name] for name in totals if name in self._before}
        if change.get("cpu.all", 0) > 0:
            metrics["system/cpu"] = 100.0 * change["cpu.busy"] / change["cpu.all"]
        if "process.cpu" in change:
            metrics["system/proc/cpu"] = 100.0 * change["process.cpu"] / elapsed
        if "cgroup.cpu" in change:
            metrics["system/cgroup/cpu"] = 100.0 * change["cgroup.cpu"] / elapsed
        for name in ("disk/read_mb_s", "disk/write_mb_s", "network/received_mb_s", "network/sent_mb_s"):
            if name in change:
                metrics[f"system/{name}"] = max(0.0, change[name]) / elapsed / 1e6

    def _read(self, path: str) -> str:
        with open(self._root + path, encoding="ascii", errors="replace") as file:
            return file.read()

    def _cpu(self, metrics: dict[str, Any], totals: dict[str, float]) -> None:
        times = [int(word) for word in self._read("/proc/stat").split("\n", 1)[0].split()[1:9]]
        totals["cpu.all"] = sum(times)
        totals["cpu.busy"] = sum(times) - times[3] - times[4]
        metrics["system/load"] = float(self._read("/proc/loadavg").split()[0])

    def _memory(self, metrics: dict[str, Any], _: dict[str, float]) -> None:
        lines = (line.split() for line in self._read("/proc/meminfo").splitlines())
        sizes = {words[0]: int(words[1]) * 1024 for words in lines if len(words) > 1}
        used = sizes["MemTotal:"] - sizes["MemAvailable:"]
        metrics["system/memory"] = 100.0 * used / sizes["MemTotal:"]
        metrics["system/memory_gb"] = used / _GIB

    def _process(self, metrics: dict[str, Any], totals: dict[str, float]) -> None:
        # The command may hold spaces and brackets; the fields that we want stand behind its last bracket.
        fields = self._read("/proc/self/stat").rpartition(")")[2].split()
        totals["process.cpu"] = (int(fields[11]) + int(fields[12])) / self._ticks
        metrics["system/proc/memory_gb"] = int(fields[21]) * self._pages / _GIB
        metrics["system/proc/threads"] = int(fields[17])

    def _disk(self, metrics: dict[str, Any], _: dict[str, float]) -> None:
        disk = os.statvfs(os.getcwd())
        used = disk.f_blocks - disk.f_bfree
        metrics["system/disk"] = 100.0 * used / max(1, used + disk.f_bavail)
        metrics["system/disk_gb"] = used * disk.f_frsize / _GIB

    def _disk_io(self, _: dict[str, Any], totals: dict[str, float]) -> None:
        read = written = 0
        for line in self._read("/proc/diskstats").splitlines():
            words = line.split()
            # Whole devices alone: a partition would count twice, loop and ram devices are no disks.
            if len(words) > 9 and _is_disk(words[2], self._root):
                read, written = read + int(words[5]), written + int(words[9])
        totals["disk/read_mb_s"], totals["disk/write_mb_s"] = read * _SECTOR, written * _SECTOR

    def _network(self, _: dict[str, Any], totals: dict[str, float]) -> None:
        received = sent = 0
        for line in self._read("/proc/net/dev").splitlines()[2:]:
            name, _colon, rest = line.partition(":")
            if name.strip() != "lo":
                words = rest.split()
                received, sent = received + int(words[0]), sent + int(words[8])
        totals["network/received_mb_s"], totals["network/sent_mb_s"] = received, sent

    def _cgroup(self, metrics: dict[str, Any], totals: dict[str, float]) -> None:
        """How much of what its container may use is used: cgroups of version 2, or of version 1."""
        found = [self._memory_of(folder) for folder in self._groups("memory")]
        limit, used = min(((limit, used) for limit, used in found if limit < _UNLIMITED), default=(0, 0))
        if limit:
            metrics["system/cgroup/memory"] = 100.0 * used / limit
            metrics["system/cgroup/memory_limit_gb"] = limit / _GIB
        cores, seconds = min((self._cpu_of(folder) for folder in self._groups("cpu")), default=(_UNLIMITED, 0.0))
        if cores < _UNLIMITED:
            metrics["system/cgroup/cpu_limit"] = cores
            totals["cgroup.cpu"] = seconds / cores

    def _groups(self, controller: str) -> list[str]:
        """The folders of our group for this controller and of those around it: a limit may stand at any of them."""
        found = []
        for line in self._read("/proc/self/cgroup").splitlines():
            _, names, path = line.split(":", 2)
            base = f"/sys/fs/cgroup/{names}".rstrip("/")
            # Version 2 has no names. A machine may have both, with the controllers in one of them.
            if (not names or controller in names.split(",")) and os.path.isdir(self._root + base):
                parts = [part for part in path.split("/") if part not in ("", "..")]
                found += ["/".join([base, *parts[:depth]]) for depth in range(len(parts) + 1)]
        return found

    def _memory_of(self, folder: str) -> tuple[float, float]:
        """The limit of a group and what it uses, in bytes; what it does not say is unlimited."""
        for limit, used in (("memory.max", "memory.current"), ("memory.limit_in_bytes", "memory.usage_in_bytes")):
            try:
                return float(self._read(f"{folder}/{limit}").replace("max", "inf")), float(
                    self._read(f"{folder}/{used}")
                )
            except OSError:
                continue
        return _UNLIMITED, 0.0

    def _cpu_of(self, folder: str) -> tuple[float, float]:
        """How many cores a group may use, and how many seconds of them it used."""
        try:
            quota, period = self._read(f"{folder}/cpu.max").split()
            spent = float(self._read(f"{folder}/cpu.stat").split()[1]) / 1e6
        except OSError:
            try:
                quota, period = self._read(f"{folder}/cpu.cfs_quota_us"), self._read(f"{folder}/cpu.cfs_period_us")
                account = "/".join(["/sys/fs/cgroup/cpuacct", *folder.split("/")[5:]])
                spent = float(self._read(f"{account}/cpuacct.usage")) / 1e9
            except OSError:
                return _UNLIMITED, 0.0
        cores = float(quota.replace("max", "inf")) / float(period)
        return (cores, spent) if cores > 0 else (_UNLIMITED, 0.0)

    def _gpus(self, metrics: dict[str, Any], _: dict[str, float]) -> None:
        if self._gpu is None:
            return
        with loading:
            import subprocess
        answer = subprocess.run(  # noqa: S603 - the program of that name on the PATH is what is meant
            [self._gpu, f"--query-gpu={_GPU_QUERY}", "--format=csv,noheader,nounits"],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=_GPU_TIMEOUT_S, check=True,
        )  # fmt: skip
        for line in answer.stdout.decode("ascii", "replace").splitlines():
            words = [word.strip() for word in line.split(",")]
            if len(words) != 6 or not words[0].isdigit():
                raise ValueError(line)
            load, used, total, watts, celsius = (_number(word) for word in words[1:])
            found = {"gpu": load, "memory_gb": used and used / 1024, "power_w": watts, "temperature_c": celsius}
            if used is not None and total:
                found["memory"] = 100.0 * used / total
            for name, value in found.items():
                if value is not None:
                    metrics[f"system/gpu/{words[0]}/{name}"] = value


def _number(word: str) -> float | None:
    """The number, or None for the `[N/A]` of a card that does not measure this."""
    try:
        return float(word)
    except ValueError:
        return None


def _is_disk(name: str, root: str) -> bool:
    return not name.startswith(("loop", "ram", "zram", "dm-", "md")) and os.path.isdir(f"{root}/sys/block/{name}")


def _find_program(name: str) -> str | None:
    for folder in os.environ.get("PATH", "").split(os.pathsep):
        path = os.path.join(folder, name)
        if folder and os.path.isfile(path) and os.access(path, os.X_OK):
            return path
    return None
