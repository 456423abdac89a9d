"""The spool: its format, and what is left of it after every kind of damage."""

import os
import random
import shutil
from pathlib import Path
from typing import Any

import arwandb
import pytest
from arwandb import stream
from arwandb.disk import Disk, File
from arwandb.records import MAGIC, MARK, Damage, Entry, Identity, NewerFormat, body_offset, header, record, scan
from arwandb.spool import Spool
from arwandb.stream import SpoolReader
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.sdk.standin import StandIn

WHO = Identity("run_1", "rank0", "ab" * 16)
FULL = os.environ.get("ARWX_FULL") == "1"
GOLDEN = Path(__file__).parent / "golden"


def entries(count: int, start: int = 0) -> list[Entry]:
    return [
        (seq, 1, b'{"step":%d,"ts":1.5,"metrics":{"loss":%d.25}}' % (seq, seq)) for seq in range(start, start + count)
    ]


def written(given: list[Entry]) -> bytes:
    return header(WHO) + b"".join(record(WHO, entry) for entry in given)


def read(data: bytes, folder: Path) -> tuple[list[Entry], SpoolReader]:
    """What the reader makes of these bytes as a spool file."""
    path = folder / f"{WHO.stem}.000001.spool"
    folder.mkdir(exist_ok=True)
    path.write_bytes(data)
    reader = SpoolReader(Disk(), str(folder), WHO, 0)
    reader.scan_all()
    return list(reader.iterate(0)), reader


def scanned(data: bytes) -> tuple[list[Entry], int]:
    """The entries of these bytes, and how many bytes are damage; together they must be all of them."""
    found, damaged, position = [], 0, body_offset(WHO, data)
    at = position
    for behind, item in scan(WHO, data, position, is_end=True):
        if isinstance(item, Damage):
            assert (item.start, item.end) == (at, behind)
            damaged += item.end - item.start
        else:
            found.append(item)
        at = behind
    assert at == len(data)
    return found, damaged


def test_a_spool_of_version_1_reads_as_it_always_did(tmp_path: Path) -> None:
    (golden,) = (GOLDEN / "v1").glob("*/*.spool")
    found, reader = read(golden.read_bytes(), tmp_path)

    assert found == entries(3)
    assert written(entries(3)) == golden.read_bytes()
    assert reader.damaged_bytes == 0


@pytest.mark.parametrize("version", sorted(path.name for path in GOLDEN.iterdir()))
def test_a_folder_that_any_version_left_is_delivered(standin: StandIn, tmp_path: Path, version: str) -> None:
    """An entry of three was acknowledged, the run had ended."""
    shutil.copytree(GOLDEN / version, tmp_path / version)
    (receipt,) = arwandb.sync(str(tmp_path / version))

    assert receipt.delivered == 2
    assert standin.model.values("run_1", "loss") == [1.25, 2.25]
    run = standin.model.runs["run_1"]
    assert (run["project"], run["name"], run["tags"], run["status"]) == ("char-lm", "first", ["a"], "finished")
    assert run["config"] == {"lr": 0.001, "layers": 4}
    assert run["summary"] == {"best": 0.25}
    assert run["expected"] == [{"writer_id": "rank0", "epoch": WHO.epoch, "points": 3, "next_seq": 3}]
    assert list(tmp_path.glob("*/*/*.spool")) == []


def test_a_later_format_is_refused_and_not_guessed() -> None:
    data = bytearray(written(entries(1)))
    data[7] = 2
    with pytest.raises(NewerFormat):
        body_offset(WHO, bytes(data))


def test_every_cut_keeps_what_is_whole(tmp_path: Path) -> None:
    given = entries(2000 if FULL else 60)
    data = written(given)
    sizes = [len(record(WHO, entry)) for entry in given]
    ends = [len(header(WHO)) + sum(sizes[: index + 1]) for index in range(len(given))]
    for cut in range(ends[-4], len(data)):
        found, damaged = scanned(data[:cut])
        whole = sum(end <= cut for end in ends)
        assert found == given[:whole]
        assert damaged == cut - ends[whole - 1]


def test_a_flipped_byte_costs_its_own_record_alone(tmp_path: Path) -> None:
    given = entries(2000 if FULL else 40)
    data = written(given)
    offsets = [len(header(WHO))]
    for entry in given:
        offsets.append(offsets[-1] + len(record(WHO, entry)))
    chosen = random.Random(4).sample(range(len(given)), 200 if FULL else 12)
    for index in chosen:
        for position in range(offsets[index], offsets[index + 1]):
            for bit in (0x01, 0x80, 0xFF):
                changed = bytearray(data)
                changed[position] ^= bit
                found, damaged = scanned(bytes(changed))
                assert found == given[:index] + given[index + 1 :]
                assert damaged == offsets[index + 1] - offsets[index]


def test_a_damaged_header_costs_no_record(tmp_path: Path) -> None:
    given, size = entries(5), len(header(WHO))
    for position in range(size):
        changed = bytearray(written(given))
        changed[position] ^= 0x10
        if position == 7:
            continue  # the version: a newer format may be anything
        found, damaged = scanned(bytes(changed))
        assert found == given
        assert damaged == size


def test_zeros_garbage_and_another_runs_records_are_not_believed(tmp_path: Path) -> None:
    given = entries(20)
    stranger = Identity("run_2", "rank0", "cd" * 16)
    foreign = b"".join(record(stranger, entry) for entry in entries(3, 100))
    noise = random.Random(1).randbytes(5000)
    first, rest = written(given[:10]), b"".join(record(WHO, entry) for entry in given[10:])
    for dirt in (b"\0" * 4096, noise, foreign, noise + foreign + b"\xf5\xd7" * 50):
        assert scanned(first + dirt + rest) == (given, len(dirt))


@st.composite
def damaged(draw: st.DrawFn) -> tuple[list[Entry], bytes]:
    """Entries of any size, and what some accidents made of their file."""
    sizes = draw(st.lists(st.integers(0, 400), min_size=1, max_size=12))
    given = [(seq, size % 7, b"x" * size + b"%d" % seq) for seq, size in enumerate(sizes)]
    data = bytearray(written(given))
    for _ in range(draw(st.integers(0, 4))):
        start = draw(st.integers(0, len(data)))
        end = min(len(data), start + draw(st.integers(0, 300)))
        match draw(st.sampled_from(["cut", "flip", "zero", "remove", "insert", "double", "swap"])):
            case "cut":
                del data[start:]
            case "flip" if start < len(data):
                data[start] ^= draw(st.integers(1, 255))
            case "zero":
                data[start:end] = bytes(end - start)
            case "remove":
                del data[start:end]
            case "insert":
                data[start:start] = draw(st.binary(max_size=60)) + draw(
                    st.sampled_from([b"", MARK, MAGIC, header(WHO)])
                )
            case "double":
                data[start:start] = data[start:end]
            case "swap":
                data[:] = data[start:] + data[:start]
    return given, bytes(data)


@settings(
    max_examples=20_000 if FULL else 400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(case=damaged(), chunk=st.sampled_from([64, 300, 1000, 1 << 18]))
def test_whatever_happened_to_a_file_what_is_whole_is_found_and_nothing_else(
    case: tuple[list[Entry], bytes], chunk: int, tmp_path: Path
) -> None:
    given_entries, data = case
    try:
        found, damage = scanned(data)
    except NewerFormat:
        return
    # A record is whole where all of its bytes still stand together.
    whole = [entry for entry in given_entries if record(WHO, entry) in data]
    assert {entry[0]: entry for entry in found} == {entry[0]: entry for entry in whole}
    assert all(entry in given_entries for entry in found)
    heads = body_offset(WHO, data)
    assert damage + heads + sum(len(record(WHO, entry)) for entry in found) == len(data)

    # In chunks of any size it reads the same, in the order of their numbers and each once.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stream, "_CHUNK", chunk)
        for path in tmp_path.glob("*.spool"):
            path.unlink()
        read_back, reader = read(data, tmp_path)
    rising = []
    for entry in found:
        if not rising or entry[0] > rising[-1][0]:
            rising.append(entry)
    assert read_back == (rising if reader.segments else [])


@settings(
    max_examples=20_000 if FULL else 300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.binary(max_size=400), head=st.sampled_from([b"", header(WHO), header(WHO) + MARK]))
def test_bytes_that_are_no_spool_are_no_entries(data: bytes, head: bytes, tmp_path: Path) -> None:
    try:
        found, reader = read(head + data, tmp_path)
    except NewerFormat:
        return
    assert found == []
    assert reader.entries == 0


def test_the_reader_sets_damage_aside_and_accounts_for_every_byte(tmp_path: Path) -> None:
    given = entries(5000)
    data = bytearray(written(given))
    data[100_000:100_050] = b"\0" * 50
    found, reader = read(bytes(data), tmp_path)
    lost = set(given) - set(found)
    assert 1 <= len(lost) <= 3
    reader.ack(reader.next_seq)

    aside = list((tmp_path / "quarantine").iterdir())
    assert sum(path.stat().st_size for path in aside) == reader.damaged_bytes
    assert reader.damaged_bytes + len(written(found)) == len(data)
    assert not list(tmp_path.glob("*.spool"))


def test_what_is_being_written_is_no_damage_and_its_file_stays(tmp_path: Path) -> None:
    path = tmp_path / f"{WHO.stem}.000001.spool"
    whole, half = written(entries(3)), record(WHO, entries(1, 3)[0])[:20]
    path.write_bytes(whole + half)
    writer = Disk().open(str(path))
    assert writer.lock()
    reader = SpoolReader(Disk(), str(tmp_path), WHO, 0)
    reader.scan_all()
    assert (list(reader.iterate(0)), reader.is_live, reader.damaged_bytes) == (entries(3), True, 0)
    reader.ack(3)
    assert path.read_bytes() == whole + half
    writer.close()
    reader = SpoolReader(Disk(), str(tmp_path), WHO, 3)
    reader.scan_all()
    assert (reader.is_live, reader.damaged_bytes) == (False, 20), "its writer is gone, and will not end it"


@pytest.mark.parametrize("ack", ["good", "bad", "missing"])
@pytest.mark.parametrize("segments", ["none", "some", "all"])
def test_whatever_is_missing_entries_are_sent_again_and_never_skipped(tmp_path: Path, ack: str, segments: str) -> None:
    from arwandb import papers
    from arwandb.offline import streams

    folder = tmp_path / "run_1"
    folder.mkdir()
    parts = [entries(10), entries(10, 10), entries(10, 20)]
    for number, part in enumerate(parts):
        if segments == "all" or (segments == "some" and number != 1):
            (folder / f"{WHO.stem}.{number:06d}.spool").write_bytes(written(part))
    papers.save(Disk(), str(folder / f"{WHO.stem}.run"), {"run": {"project": "p", "id": "run_1"}})
    if ack != "missing":
        papers.save(Disk(), str(folder / f"{WHO.stem}.ack"), {"next_seq": 5})
    if ack == "bad":
        path = folder / f"{WHO.stem}.ack"
        path.write_bytes(path.read_bytes().replace(b"5", b"25"))
    (one,) = streams(str(folder))
    one.scan()

    there = {"none": [], "some": parts[0] + parts[2], "all": sum(parts, [])}[segments]
    start = 5 if ack == "good" else 0
    assert [entry for entry in one.reader.iterate(one.reader.acked)] == [entry for entry in there if entry[0] >= start]


class Faulty(Disk):
    """The real disk, of which the Nth call of some verbs fails."""

    def __init__(self) -> None:
        self.fail_write: Any = lambda count: None
        self.fail_sync: Any = lambda count: None
        self.writes = self.syncs = 0

    def create(self, path: str) -> File:
        disk = self

        class Sick(File):
            def write(self, data: Any) -> int:
                disk.writes += 1
                verdict = disk.fail_write(disk.writes)
                if isinstance(verdict, OSError):
                    raise verdict
                return super().write(data if verdict is None else memoryview(data)[: min(verdict, len(data))])

            def sync(self) -> None:
                disk.syncs += 1
                verdict = disk.fail_sync(disk.syncs)
                if verdict is not None:
                    raise verdict
                super().sync()

        return Sick(path, os.O_CREAT | os.O_RDWR | os.O_APPEND | os.O_EXCL)


def fill(spool: Spool, count: int, *, each: int = 10, now: float = 0.0) -> float:
    """Log `count` entries as the writer thread does, a second of syncing included."""
    for start in range(spool.next_seq, spool.next_seq + count, each):
        spool.add([entry[1:] for entry in entries(each, start)])
        spool.commit(now)
        now += 0.1
        if round(now * 10) % 10 == 0:
            spool.sync(now)
    return now


def test_short_writes_are_gone_on_with(tmp_path: Path) -> None:
    disk = Faulty()
    disk.fail_write = lambda count: 7
    spool = Spool(disk, str(tmp_path), WHO)
    fill(spool, 100)
    spool.close(0)

    reader = SpoolReader(Disk(), str(tmp_path), WHO, 0)
    reader.scan_all()
    assert list(reader.iterate(0)) == entries(100)
    assert reader.damaged_bytes == 0


@pytest.mark.parametrize("errno", [5, 28])
def test_a_disk_that_fails_at_any_write_loses_nothing(tmp_path: Path, errno: int) -> None:
    for bad in range(1, 60):
        folder = tmp_path / str(bad)
        folder.mkdir()
        disk = Faulty()
        # A short write and then the error, as a full disk gives it, for a while.
        disk.fail_write = lambda count: (
            11 if count == bad else OSError(errno, "injected") if bad < count < bad + 4 else None
        )
        spool = Spool(disk, str(folder), WHO)
        now = fill(spool, 300)
        assert list(spool.iterate(0)) == entries(300), bad
        fill(spool, 100, now=now + 100)
        for later in range(200, 240, 10):
            spool.commit(now + later)
        assert spool.unwritten == 0
        assert list(spool.iterate(0)) == entries(400), bad
        spool.close(now + 300)
        reader = SpoolReader(Disk(), str(folder), WHO, 0)
        reader.scan_all()
        assert list(reader.iterate(0)) == entries(400), bad
        assert reader.damaged_bytes == 0, bad  # what was torn off is cut away
        assert not [path for path in folder.iterdir() if path.suffix == ".new"]


def test_a_failed_fsync_gives_the_file_up_and_writes_its_entries_anew(tmp_path: Path) -> None:
    for bad in range(1, 6):
        folder = tmp_path / str(bad)
        folder.mkdir()
        disk = Faulty()
        disk.fail_sync = lambda count: OSError(5, "injected") if count == bad else None
        spool = Spool(disk, str(folder), WHO)
        fill(spool, 600)
        spool.close(100)
        assert spool.synced_seq == 600
        assert list(spool.iterate(0)) == entries(600)
        first, *others = sorted(folder.glob("*.spool"))
        assert others, bad
        # What the failed fsync may have lost stands in the next file: take the poisoned one away, from its last good
        # fsync on, as a power cut would.
        os.truncate(first, len(written(entries(100 * (bad - 1)))) if bad > 1 else 0)
        reader = SpoolReader(Disk(), str(folder), WHO, 0)
        reader.scan_all()
        assert list(reader.iterate(0)) == entries(600), bad


def test_what_one_failed_fsync_may_have_lost_is_written_anew_at_once(tmp_path: Path) -> None:
    disk = Faulty()
    disk.fail_sync = lambda count: OSError(5, "injected") if count == 1 else None
    spool = Spool(disk, str(tmp_path), WHO)
    spool.add([entry[1:] for entry in entries(10)])
    spool.commit(0.0)
    spool.sync(1.0)
    assert (spool.unwritten, spool.synced_seq) == (0, 0)
    spool.sync(2.0)
    assert spool.synced_seq == 10


def test_what_a_failed_fsync_brings_back_counts_as_memory(tmp_path: Path) -> None:
    disk = Faulty()
    spool = Spool(disk, str(tmp_path), WHO, memory_bytes=10_000)
    spool.add([entry[1:] for entry in entries(40)])
    spool.commit(0.0)
    disk.fail_sync = disk.fail_write = lambda count: OSError(5, "injected")
    spool.sync(1.0)
    assert spool.unwritten == 40
    fill(spool, 1000, now=1.1)
    kept = list(spool.iterate(0))
    assert kept == entries(len(kept))
    assert len(kept) > 40
    assert sum(len(entry[2]) + 160 for entry in kept) <= 10_000


def test_the_end_does_not_wait_until_a_disk_is_asked_again(tmp_path: Path) -> None:
    disk = Faulty()
    disk.fail_write = lambda count: 0 if count < 9 else None  # a write that takes nothing would be tried for ever
    spool = Spool(disk, str(tmp_path), WHO)
    spool.add([entry[1:] for entry in entries(10)])
    spool.commit(0.0)
    assert (disk.writes, spool.unwritten, str(spool.fault)) == (1, 10, "[Errno 5] write took nothing")
    disk.fail_write = lambda count: None
    spool.close(0.1)
    assert (spool.unwritten, spool.synced_seq, spool.fault) == (0, 10, None)


def test_a_file_that_could_not_be_removed_is_removed_later(tmp_path: Path) -> None:
    class Sticky(Disk):
        is_stuck = True

        def remove(self, path: str) -> None:
            if self.is_stuck:
                raise OSError(16, "injected")
            super().remove(path)

    disk = Sticky()
    spool = Spool(disk, str(tmp_path), WHO, segment_bytes=1000)
    fill(spool, 100)
    spool.ack(100)
    assert len(list(tmp_path.glob("*.spool"))) > 3
    disk.is_stuck = False
    spool.close(1.0)
    assert list(tmp_path.glob("*.spool")) == []


def test_what_stands_in_a_file_that_is_left_is_forced_before(tmp_path: Path) -> None:
    disk = Faulty()
    spool = Spool(disk, str(tmp_path), WHO)
    spool.add([entry[1:] for entry in entries(10)])
    spool.commit(0.0)
    disk.fail_write = lambda count: OSError(28, "injected")
    spool.add([entry[1:] for entry in entries(10, 10)])
    spool.commit(0.1)
    assert (spool.spooled_seq, spool.synced_seq, spool.unwritten) == (10, 10, 10)


def test_what_moves_to_the_disk_while_somebody_reads_is_no_gap(tmp_path: Path) -> None:
    spool = Spool(Disk(), str(tmp_path), WHO)
    spool.add([entry[1:] for entry in entries(10)])
    spool.commit(0.0)
    spool.add([entry[1:] for entry in entries(10, 10)])
    reader = spool.iterate(0)
    begun = [next(reader) for _ in range(10)]
    spool.commit(0.1)
    spool.add([entry[1:] for entry in entries(10, 20)])
    assert begun + list(reader) == entries(30)


def test_a_disk_that_goes_on_failing_is_asked_every_few_seconds_and_no_more(tmp_path: Path) -> None:
    disk, folder = Faulty(), tmp_path / "writes"
    folder.mkdir()
    disk.fail_write = lambda count: OSError(28, "injected")
    spool = Spool(disk, str(folder), WHO)
    now = fill(spool, 1200)  # twelve seconds
    assert 2 <= disk.writes <= 3
    disk.fail_write = lambda count: None
    fill(spool, 10, now=now + 5)
    assert spool.unwritten == 0

    disk, folder = Faulty(), tmp_path / "syncs"
    folder.mkdir()
    disk.fail_sync = lambda count: OSError(5, "injected")
    spool = Spool(disk, str(folder), WHO)
    now = fill(spool, 1200)
    assert 2 <= disk.syncs <= 4
    disk.fail_sync = lambda count: None
    fill(spool, 10, now=now + 5)
    spool.close(now + 6)
    assert spool.synced_seq == 1210
    assert list(spool.iterate(0)) == entries(1210)


def test_without_a_disk_the_oldest_are_kept_and_each_drop_is_counted(tmp_path: Path) -> None:
    spool = Spool(None, str(tmp_path), WHO, memory_bytes=10_000)
    fill(spool, 1000)
    kept = list(spool.iterate(0))

    assert kept == entries(len(kept))
    assert sum(len(entry[2]) for entry in kept) <= 10_000
    assert spool.dropped == 1000 - len(kept)
    spool.ack(len(kept))
    fill(spool, 10)
    assert [entry[0] for entry in spool.iterate(len(kept))] == list(range(1000, 1010))


def test_entries_sent_from_memory_while_their_file_is_made_end_nothing(tmp_path: Path) -> None:
    class Slow(Disk):
        """Making a file takes long enough for the sender to have all that waits acknowledged."""

        def create(self, path: str) -> File:
            file = super().create(path)
            spool.ack(spool.next_seq)
            return file

    spool = Spool(Slow(), str(tmp_path), WHO)
    spool.add([entry[1:] for entry in entries(10)])
    spool.commit(0.0)
    assert spool.unwritten == 0

    spool.add([entry[1:] for entry in entries(10, 10)])
    spool.commit(0.1)
    assert list(spool.iterate(10)) == entries(10, 10)
    spool.close(1.0)
    assert spool.fault is None


def test_segments_go_when_they_are_acknowledged(tmp_path: Path) -> None:
    spool = Spool(Disk(), str(tmp_path), WHO, segment_bytes=10_000)
    fill(spool, 2000)
    before = len(list(tmp_path.glob("*.spool")))
    spool.ack(1000)
    middle = len(list(tmp_path.glob("*.spool")))
    assert list(spool.iterate(1000)) == entries(1000, 1000)
    spool.ack(2000)
    spool.close(0)

    assert before > 8
    assert before // 2 - 1 <= middle <= before // 2 + 1
    assert list(tmp_path.glob("*.spool")) == []
