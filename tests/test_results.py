"""results.tsv, in and out: nothing half, nothing twice, and a crash never wins."""

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from arwx import cli
from tests.conftest import SECRET_KEY
from tests.make import Caller

HEADER = "commit\tval_bpb\tmemory_gb\tstatus\tdescription\n"
TABLE = HEADER + (
    "baseline\t0.997900\t44.0\tkeep\tbaseline\n"
    "a1b2c3d\t0.993200\t44.2\tkeep\tincrease LR to 0.04\n"
    "b2c3d4e\t1.005000\t44.0\tdiscard\tswitch to GeLU activation\n"
    "c3d4e5f\t0.000000\t0.0\tcrash\tdouble model width (OOM)\n"
    "d4e5f60\t0.991000\t44.3\tdiscard\tuglier, hardly better\n"
    "b2c3d4e\t1.005000\t44.0\tdiscard\tswitch to GeLU activation\n"
)


@pytest.fixture
def arwx(ada: Caller, database_url: str, tmp_path: Path) -> Any:
    """The command, beside a server with Ada's organization."""
    environment = {"DATABASE_URL": database_url, "ARWX_DATA_DIR": str(tmp_path), "SECRET_KEY": SECRET_KEY}

    def run(*arguments: str) -> Result:
        done = CliRunner().invoke(cli.main, arguments, env=environment)
        assert done.exception is None or isinstance(done.exception, SystemExit), repr(done.exception)
        return done

    return run


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "results.tsv"
    path.write_text(TABLE)
    return path


def test_a_table_becomes_a_story(ada: Caller, arwx: Any, table: Path) -> None:
    done = arwx("import-results", str(table), "--project", "nano", "--org", "Ada's lab")
    assert (done.exit_code, done.output) == (0, "6 experiments imported, 0 were there already.\n")
    story = ada.get("/v1/projects/nano/progress").json
    assert story["goal"] == {"metric": "val_bpb", "lower_is_better": True, "target": None}
    assert [(one["index"], one["status"], one["score"], one["commit"]) for one in story["items"]] == [
        (1, "keep", 0.9979, "baseline"),
        (2, "keep", 0.9932, "a1b2c3d"),
        (3, "drop", 1.005, "b2c3d4e"),
        (4, "crash", None, "c3d4e5f"),
        (5, "drop", 0.991, "d4e5f60"),
        (6, "drop", 1.005, "b2c3d4e"),
    ]
    assert (story["best"]["index"], story["best"]["score"]) == (2, 0.9932)
    assert story["items"][1]["note"] == "increase LR to 0.04"


def test_what_comes_out_is_what_went_in(ada: Caller, arwx: Any, table: Path) -> None:
    arwx("import-results", str(table), "--project", "nano")
    answer = ada.get("/v1/projects/nano/results.tsv")
    assert (answer.status_code, answer.mimetype, answer.text) == (200, "text/tab-separated-values", TABLE)
    assert arwx("export-results", "--project", "nano").output == TABLE
    again = ada.get("/v1/projects/nano/results.tsv", headers={"If-None-Match": answer.headers["ETag"]})
    assert again.status_code == 304


def test_importing_again_changes_nothing_and_adds_what_is_new(ada: Caller, arwx: Any, table: Path) -> None:
    arwx("import-results", str(table), "--project", "nano")
    first = ada.get("/v1/projects/nano/experiments").json["items"]
    ada.post(f"/v1/experiments/{first[0]['id']}/decision", json={"status": "keep", "score": 0.9})
    before = ada.get("/v1/projects/nano/progress").json
    done = arwx("import-results", str(table), "--project", "nano")
    assert done.output == "0 experiments imported, 6 were there already.\n"
    assert ada.get("/v1/projects/nano/progress").json == before
    table.write_bytes(TABLE.replace("\n", "\r\n").encode() + b"e5f6071\t0.98\t44\tkeep\tone more\r\n\r\n")
    assert arwx("import-results", str(table), "--project", "nano").output.startswith("1 experiments imported, 6 were")
    assert [one["index"] for one in ada.get("/v1/projects/nano/progress").json["items"]] == [1, 2, 3, 4, 5, 6, 7]


def test_a_goal_that_is_there_stays(ada: Caller, arwx: Any, table: Path) -> None:
    ada.post("/v1/projects", json={"name": "nano", "objective_metric": "acc", "lower_is_better": False})
    arwx("import-results", str(table), "--project", "nano")
    story = ada.get("/v1/projects/nano/progress").json
    assert (story["goal"]["metric"], story["best"]) == ("acc", None)
    assert ada.get("/v1/projects/nano/results.tsv").text == HEADER


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("a\t1.0\t1.0\tkept\twhy", "line 8: status must be keep, discard or crash, not 'kept'"),
        ("a\tfast\t1.0\tkeep\twhy", "line 8: val_bpb must be a number, not 'fast'"),
        ("a\tnan\t1.0\tkeep\twhy", "line 8: val_bpb must be a number, not 'nan'"),
        ("a\t1.0\tmuch\tkeep\twhy", "line 8: memory_gb must be a number, not 'much'"),
        ("a\t0.000000\t1.0\tkeep\twhy", "line 8: what is kept needs its val_bpb"),
        ("-f\t1.0\t1.0\tkeep\twhy", "line 8: commit must be a hash or a ref, not '-f'"),
        ("a,1.0,1.0,keep,why", "line 8: 1 columns instead of 5"),
        (f"{'a' * 65}\t1.0\t1.0\tkeep\twhy", "line 8: commit must have at most 64 characters, and no NUL"),
    ],
)
def test_a_bad_line_is_named_and_nothing_is_imported(ada: Caller, arwx: Any, table: Path, line: str, said: str) -> None:
    table.write_text(TABLE + line + "\n")
    done = arwx("import-results", str(table), "--project", "nano")
    assert (done.exit_code, done.output) == (1, f"{table}: {said}\n")
    assert ada.get("/v1/projects/nano").status_code == 404


def test_what_is_no_table_is_refused(arwx: Any, table: Path) -> None:
    table.write_text("commit\tscore\n")
    done = arwx("import-results", str(table), "--project", "nano")
    assert (done.exit_code, "line 1: the columns must be commit, val_bpb" in done.output) == (1, True)
    table.write_bytes(b"\xff\xfe\x00")
    assert "this is no UTF-8 text" in arwx("import-results", str(table), "--project", "nano").output
    assert arwx("export-results", "--project", "nowhere").exit_code == 1
    assert arwx("import-results", str(table), "--project", "nano", "--org", "nowhere").exit_code == 1


def test_of_several_organizations_one_must_be_named(mallory: Caller, arwx: Any, table: Path) -> None:
    done = arwx("import-results", str(table), "--project", "nano")
    assert (done.exit_code, done.output) == (1, "Say which organization: --org ORG.\n")
    assert arwx("import-results", str(table), "--project", "nano", "--org", "Ada's lab").exit_code == 0
    assert mallory.get("/v1/projects/nano/results.tsv").status_code == 404


def test_cells_stay_cells(ada: Caller) -> None:
    ada.post("/v1/projects", json={"name": "nano", "objective_metric": "val_bpb"})
    ada.post("/v1/sessions", json={"project": "nano", "id": "s"})
    body = {"session_id": "s", "note": "two\tcells\nand lines", "commit": "0123456789abcdef", "config": None}
    made = ada.post("/v1/experiments", json=body).json
    ada.post(f"/v1/experiments/{made['id']}/decision", json={"status": "keep", "score": 1.5})
    ada.post("/v1/experiments", json={"session_id": "s", "note": "undecided"})
    assert ada.get("/v1/projects/nano/results.tsv").text == (
        HEADER + "0123456\t1.500000\t0.0\tkeep\ttwo cells and lines\n"
    )
