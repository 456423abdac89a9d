"""What one may call, and scripts that were written for W&B."""

import ast
import copy
import pickle
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import arwandb
import pytest
from arwandb import code
from arwandb.http import proxy_for
from arwandb.system import Machine

from tests.sdk.conftest import SDK, Real, until
from tests.sdk.model import Answer, problem
from tests.sdk.standin import StandIn

SCRIPTS = {
    "a plain loop": """
wandb.init(project="p", entity="team", id="w")
for step in range(10):
    wandb.log({"loss": 1.0 / (step + 1)})
wandb.finish()
""",
    "config and argparse": """
import argparse
args = argparse.Namespace(lr=0.1, layers=2)
wandb.init(project="p", id="w", config=args, reinit=True, settings=wandb.Settings(start_method="fork"))
wandb.config.update({"extra": 1}, allow_val_change=True)
assert wandb.config.lr == 0.1 and wandb.config["layers"] == 2 and wandb.config.get("none", 7) == 7
for step in range(10):
    wandb.log({"loss": wandb.config.lr}, step=step, commit=True)
wandb.run.summary["best"] = 1.0
""",
    "nested metrics": """
run = wandb.init(project="p", id="w", job_type="train", tags=["a"], notes="n", anonymous="allow")
for epoch in range(10):
    run.log({"train": {"loss": 0.5, "acc": 0.1}, "epoch": epoch}, commit=False)
    run.log({"val": {"loss": 0.7}, "loss": 0.1})
print(wandb.run.name, wandb.run.id, wandb.run.url, wandb.run.dir, wandb.run.project)
""",
    "with init": """
with wandb.init(project="p", id="w", config={"lr": 1}) as run:
    for step in range(10):
        run.log({"loss": 1.0})
    assert run.summary["loss"] == 1.0
""",
    "media and models": """
wandb.require("core")
wandb.login()
assert len(wandb.util.generate_id()) == 8 and wandb.util.generate_id() != wandb.util.generate_id()
run = wandb.init(project="p", id="w", save_code=True, settings=wandb.Settings(console="off"))
wandb.watch(object(), log="all")
wandb.define_metric("val/*", step_metric="epoch")
table = wandb.Table(columns=["a", "b"], data=[[1, 2]])
table.add_data(3, 4)
for step in range(10):
    wandb.log({"loss": 1.0, "image": wandb.Image([[0]], caption="c"), "hist": wandb.Histogram([1, 2]), "table": table,
               "pr": wandb.plot.line(table, "a", "b")})
wandb.save("model.pt")
artifact = wandb.Artifact("model", type="model")
artifact.add_file("model.pt")
run.log_artifact(artifact)
run.log_model("model.pt", name="m")
assert (run.entity, run.path, run.resumed, run.disabled, run.get_url()) == ("", "p/w", False, False, run.url)
wandb.alert(title="t", text="x", level=wandb.AlertLevel.WARN)
wandb.unwatch()
wandb.finish(exit_code=0)
""",
    "a run that is named after it began": """
run = wandb.init(project="p", id="w", name="first", tags=["a"])
run.name = "second"
wandb.run.tags += ("b",)
wandb.run.notes = "why"
wandb.run.save()
assert (run.name, run.tags, run.notes) == ("second", ("a", "b"), "why")
for step in range(10):
    run.log(data={"loss": 1.0})
wandb.log(data={"lr": 0.1}, step=10)
assert (run.starting_step, run.sweep_url, run.to_html()) == (0, None, "") and run.start_time > 1e9
assert run.url.startswith(run.project_url + "/runs/")
wandb.finish()
""",
    "artifacts and tables": """
def trained(run: wandb.sdk.wandb_run.Run) -> wandb.Artifact:
    artifact = wandb.Artifact("model", type="model", metadata={"layers": 2})
    artifact.metadata["heads"] = 4
    artifact.aliases.append("best")
    with artifact.new_file("notes.txt") as file:
        file.write("trained")
    with artifact.new_file("weights.bin", mode="wb") as file:
        file.write(b"0")
    assert (artifact.name, artifact.type, artifact.metadata) == ("model", "model", {"layers": 2, "heads": 4})
    return run.log_artifact(artifact, aliases=["latest"]).wait()

run = wandb.init(project="p", id="w", dir=None, sync_tensorboard=False)
with open(os.path.join(run.dir, "model.pt"), "w") as file:
    file.write("weights")
trained(run)
run.log_artifact("model.pt", name="m", type="model").wait()
wandb.log_model("model.pt", name="m")
wandb.link_model("model.pt", "registry")
wandb.mark_preempting()
table = wandb.Table(columns=["a"], data=[[1], [2]])
table.add_column("b", [3, 4])
assert [row for _, row in table.iterrows()] == [[1, 3], [2, 4]] and table.get_column("b") == [3, 4]
masks = wandb.Image([[0]], classes=wandb.Classes([{"id": 0, "name": "a"}]))
try:
    run.use_artifact("data:latest").download()
    raise SystemExit("there are no such files")
except NotImplementedError as error:
    assert "autoresearch.get_artifact" in str(error)
except (wandb.errors.CommError, wandb.Error):
    raise SystemExit("another error is meant")
for step in range(10):
    wandb.log({"loss": 1.0, "table": table, "image": masks, "plot": wandb.plot_table("x", table, {}, {})})
wandb.termerror("done")
wandb.finish()
""",
}


@pytest.mark.parametrize("name", SCRIPTS)
def test_an_ordinary_wandb_script_runs_unchanged(standin: StandIn, script: Callable[..., Any], name: str) -> None:
    process = script("import arwandb as wandb\n" + SCRIPTS[name], WANDB_API_KEY=standin.key, ARWANDB_API_KEY="")
    _, err = process.communicate(timeout=20)
    assert process.returncode == 0, err
    assert len(standin.model.values("w", "loss")) == 10
    assert standin.model.runs["w"]["status"] == "finished"


def test_a_run_is_renamed_at_the_server(standin: StandIn) -> None:
    run = arwandb.init(id="w", tags="a", notes="then")
    until(lambda: "w" in standin.model.runs)
    assert run.name == "quiet-heron-1"
    run.name, run.tags, run.notes = "now", ["b", "c"], None
    assert (run.name, run.tags, run.notes) == ("now", ("b", "c"), None)
    arwandb.finish()
    told = standin.model.runs["w"]
    assert (told["name"], told["tags"], told["notes"]) == ("now", ["b", "c"], None)


def test_a_run_is_renamed_offline_too(standin: StandIn, spool: Path) -> None:
    run = arwandb.init(id="w", mode="offline")
    run.name = "late"
    run.config.lr = 1.0
    arwandb.finish()
    (receipt,) = arwandb.sync(str(spool))
    told = standin.model.runs["w"]
    assert (receipt.is_intact, told["name"], told["config"]) == (True, "late", {"lr": 1.0})


def test_what_is_too_long_is_cut_and_takes_nothing_else_along(
    standin: StandIn, capsys: pytest.CaptureFixture[str]
) -> None:
    """A server would refuse the whole description for one tag, and the config with it."""
    arwandb.init(id="w", name="n" * 300, notes="x" * 70_000, tags=["t" * 200, "ok", None, "\ud800"], config={"lr": 1.0})
    arwandb.finish()
    told = standin.model.runs["w"]
    assert (len(told["name"]), len(told["notes"]), told["tags"]) == (255, 65_536, ["t" * 128, "ok", "?"])
    assert told["config"] == {"lr": 1.0}
    assert "at most 255 characters" in capsys.readouterr().err


@pytest.mark.parametrize(
    "given",
    [{"project": "a/b"}, {"project": "x" * 129}, {"project": "a\u200b"}, {"project": "\ud800"}, {"tags": 5},
     {"id": "no spaces"}, {"writer_id": "a.b"}, {"mode": "sometimes"}, {"config": 7},
     {"resume": "perhaps"}, {"nonsense": 1}, {"base_url": "ftp://x"}, {"system_interval": "often"}],
)  # fmt: skip
def test_arguments_that_cannot_work_are_refused_at_once(given: dict[str, Any], spool: Path) -> None:
    with pytest.raises(arwandb.UsageError):
        arwandb.init(**given)
    assert not spool.exists()


def test_before_init_the_error_says_what_to_do() -> None:
    arwandb.finish()
    for call in (lambda: arwandb.log({"x": 1}), lambda: arwandb.watch(None), lambda: arwandb.save("x")):
        with pytest.raises(arwandb.Error, match="init"):
            call()


@pytest.mark.parametrize(
    "given", [{"mode": "disabled"}, {"settings": arwandb.Settings(mode="disabled")}, {"settings": {"mode": "disabled"}}]
)
def test_disabled_does_nothing_at_all(spool: Path, given: dict[str, Any]) -> None:
    run = arwandb.init(**given)
    arwandb.log({"loss": 1.0})
    run.config.lr = 1.0
    run.summary["best"] = 1.0
    arwandb.finish()
    assert not spool.exists()


def test_the_wandb_environment_is_read_and_ours_comes_first(standin: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "PROJECT": "theirs",
        "RUN_ID": "from-env",
        "NAME": "n",
        "TAGS": "a, b",
        "RUN_GROUP": "g",
    }.items():
        monkeypatch.setenv(f"WANDB_{name}", value)
    monkeypatch.setenv("ARWANDB_PROJECT", "ours")
    arwandb.init()
    arwandb.finish()
    run = standin.model.runs["from-env"]
    assert (run["project"], run["name"], run["tags"], run["group"]) == ("ours", "n", ["a", "b"], "g")


def test_resume_must_and_never_are_answered_before_training_begins(standin: StandIn) -> None:
    def fault(method: str, path: str) -> Answer | None:
        return problem(404, "not_found", "There is no run with this id to resume.") if path == "/v1/runs" else None

    arwandb.init(id="taken")
    arwandb.finish()
    with pytest.raises(arwandb.UsageError, match="there already"):
        arwandb.init(id="taken", resume="never")
    arwandb.init(id="fresh", resume="never")
    arwandb.finish()
    standin.fault = fault
    with pytest.raises(arwandb.UsageError, match="no run"):
        arwandb.init(id="nowhere", resume="must")


def test_media_within_lists_and_mappings_are_named_once(standin: StandIn, capsys: pytest.CaptureFixture[str]) -> None:
    arwandb.init(id="media")
    for _ in range(2):
        arwandb.log({"faces": [arwandb.Image(1), arwandb.Image(2)], "val": {"h": arwandb.Histogram([1]), "loss": 1.0}})
        arwandb.log({"curve": arwandb.plot.line(None, "x", "y"), "nothing": []})
    arwandb.finish()
    said = [line.partition(" is not recorded")[0] for line in capsys.readouterr().err.splitlines()]
    assert said == ["arwandb: Image", "arwandb: Histogram", "arwandb: Plot"]
    assert standin.model.values("media", "val/loss") == [1.0, 1.0]


def test_a_resumed_run_goes_on_where_it_stopped(real: Real) -> None:
    first = arwandb.init(id="goes-on", project="p", config={"lr": 1, "width": 8}, resume="allow")
    assert (first.resumed, first.starting_step) == (False, 0)
    for loss in (3.0, 2.0, 1.0):
        arwandb.log({"loss": loss})
    first.summary["best"] = 1.0
    arwandb.finish()

    again = arwandb.init(id="goes-on", project="p", config={"lr": 2}, tags=["second"], resume="must")
    assert (again.resumed, again.starting_step, again.step) == (True, 3, 3)
    assert again.config.as_dict() == {"lr": 2, "width": 8}
    assert (again.summary["best"], again.summary["loss"]) == (1.0, 1.0)
    arwandb.log({"loss": 0.5})
    assert again.summary["loss"] == 0.5
    arwandb.finish()

    stored = real.run("goes-on")
    assert stored["latest"]["loss"]["step"] == 3
    assert stored["config"] == {"lr": 2, "width": 8}
    assert (stored["summary"], stored["tags"], stored["status"]) == ({"best": 1.0}, ["second"], "finished")

    third = arwandb.init(id="goes-on", project="p", resume="allow")
    assert third.tags == ("second",)
    third.tags += ("third",)
    arwandb.finish()
    assert real.run("goes-on")["tags"] == ["second", "third"]

    # Another process of the same run, which was not told to resume, has steps of its own.
    beside = arwandb.init(id="goes-on", project="p")
    assert (beside.resumed, beside.step) == (False, 0)


def test_a_run_that_may_be_resumed_does_not_wait_where_nobody_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARWANDB_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setattr(arwandb, "_ASK_S", 600.0)
    assert not arwandb.init(id="alone", resume="allow").resumed


def test_what_cannot_be_done_at_all_says_so_at_once() -> None:
    for call in (arwandb.Api, arwandb.sweep, arwandb.agent):
        with pytest.raises(NotImplementedError, match="arwandb has no"):
            call()


def test_config_takes_anything_and_masks_secrets(standin: StandIn) -> None:
    arwandb.init(
        id="c", config={"api_key": "s3cret", "pad_token": "<pad>", "nan": float("nan"), "path": Path("a"), "t": (1, 2)}
    )
    arwandb.finish()
    config = standin.model.runs["c"]["config"]
    assert config == {"api_key": "***", "pad_token": "<pad>", "nan": "nan", "path": "a", "t": [1, 2]}


def test_config_holds_what_no_json_has(standin: StandIn) -> None:
    @dataclass(slots=True)
    class Optimizer:
        name: str
        betas: tuple[float, float]

    @dataclass(slots=True)
    class Options:
        layers: int
        optimizer: Optimizer

    run = arwandb.init(id="c", config=Options(2, Optimizer("adam", (0.9, 0.99))))
    run.config["huge"] = 10**5000
    run.summary["huge"] = {"er": [10**5000]}
    arwandb.finish()
    config = standin.model.runs["c"]["config"]
    assert (config["layers"], config["optimizer"]) == (2, {"name": "adam", "betas": [0.9, 0.99]})
    assert config["huge"].startswith("0x")


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda given: pickle.loads(pickle.dumps(given))])
def test_a_copy_of_the_config_is_a_mapping_of_its_own(standin: StandIn, copied: Callable[[Any], Any]) -> None:
    run = arwandb.init(id="c", config={"lr": 1.0, "deep": {"layers": 2}})
    other = copied(run.config)
    assert (dict(other), other.lr) == ({"lr": 1.0, "deep": {"layers": 2}}, 1.0)
    other.lr = 2.0
    arwandb.finish()
    assert standin.model.runs["c"]["config"]["lr"] == 1.0


@pytest.mark.parametrize("timeout", [float("inf"), 1e300, float("nan"), "3", "soon", -1])
def test_finish_takes_any_timeout(standin: StandIn, timeout: Any) -> None:
    run = arwandb.init(id="w")
    arwandb.log({"loss": 1.0})
    until(lambda: run.status()["stored"] == 1)
    arwandb.finish(timeout=timeout)
    assert run.is_finished


def test_the_end_does_not_wait_for_a_key_that_is_refused(
    standin: StandIn, monkeypatch: pytest.MonkeyPatch, spool: Path
) -> None:
    import time

    monkeypatch.setenv("ARWANDB_API_KEY", "arwx_live_nobody")
    arwandb.init(id="w")
    arwandb.log({"loss": 1.0})
    start = time.monotonic()
    arwandb.finish()
    assert time.monotonic() - start < 10  # it would wait for 15 seconds
    monkeypatch.setenv("ARWANDB_API_KEY", standin.key)
    (receipt,) = arwandb.sync(str(spool))
    assert (receipt.is_intact, receipt.delivered) == (True, 1)


def test_without_a_current_folder_training_goes_on(script: Callable[..., Any], standin: StandIn) -> None:
    process = script(
        """
folder = os.path.abspath("gone")
os.mkdir(folder)
os.chdir(folder)
os.rmdir(folder)
arwandb.init(id="w")
arwandb.log({"loss": 1.0})
arwandb.finish()
""",
        ARWANDB_DIR="",
    )
    _, err = process.communicate(timeout=20)
    assert process.returncode == 0, err
    assert standin.model.values("w", "loss") == [1.0]


def test_login_goes_on_where_no_key_can_be_kept(
    standin: StandIn, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "config").write_text("in the way")
    monkeypatch.setenv("ARWANDB_API_KEY", "")
    assert arwandb.login(key=standin.key)
    run = arwandb.init(id="w")
    arwandb.finish()
    assert "w" in standin.model.runs, run.status()


def test_the_commit_is_read_from_the_repository(tmp_path: Path) -> None:
    def git(*arguments: str) -> str:
        setting = ["-c", "user.name=a", "-c", "user.email=a@b"]
        return subprocess.run(
            ["git", *setting, *arguments], cwd=tmp_path, capture_output=True, text=True, check=True
        ).stdout.strip()

    git("init", "-q")
    assert code.commit(str(tmp_path)) is None
    git("commit", "-q", "--allow-empty", "-m", "x")
    head = git("rev-parse", "HEAD")
    (tmp_path / "deep").mkdir()
    assert code.commit(str(tmp_path / "deep")) == head
    git("pack-refs", "--all")
    assert code.commit(str(tmp_path)) == head
    git("worktree", "add", "-q", "-b", "other", "tree")
    assert code.commit(str(tmp_path / "tree")) == head
    git("checkout", "-q", "--detach")
    assert code.commit(str(tmp_path)) == head


def test_system_metrics_have_their_own_steps(standin: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    from arwandb import system

    monkeypatch.setattr(system, "_FIRST_S", 0.05)
    run = arwandb.init(system_metrics=True, system_interval=1)
    arwandb.log({"loss": 1.0}, step=100)
    until(lambda: standin.model.values(run.id, "system/cpu"))
    arwandb.log({"loss": 2.0})
    arwandb.finish()
    steps = {next(iter(point["metrics"])): point["step"] for point in standin.model.points(run.id)}
    assert steps["loss"] == 101
    system_points = [point for point in standin.model.points(run.id) if "system/memory" in point["metrics"]]
    assert [point["step"] for point in system_points] == list(range(len(system_points)))


@pytest.mark.parametrize(
    ("says", "found"),
    [
        ("0, 93, 4096, 8192, 71.5, 64\\n1, 7, 0, 8192, [N/A], 40",
         {"system/gpu/0/gpu": 93.0, "system/gpu/0/memory": 50.0, "system/gpu/1/gpu": 7.0}),
        ("NVIDIA-SMI has failed", {}),
    ],
)  # fmt: skip
def test_a_gpu_is_seen_and_a_broken_driver_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, says: str, found: dict[str, float]
) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text(f"#!/bin/sh\nprintf '{says}\\n'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    sample = Machine().sample()
    assert {name: sample[name] for name in found} == found
    assert "system/gpu/1/power_w" not in sample
    assert sample["system/memory"] > 0


def test_a_hanging_gpu_program_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import time

    from arwandb import system

    monkeypatch.setattr(system, "_GPU_TIMEOUT_S", 0.2)
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\nexec sleep 60\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    start = time.monotonic()
    assert "system/memory" in Machine().sample()
    assert time.monotonic() - start < 20  # of the minute for which it would hang


CGROUPS = {
    "version 2, the limits of a job around us": {
        "proc/self/cgroup": "0::/job_1/step_0\n",
        "sys/fs/cgroup/job_1/memory.max": "4294967296\n", "sys/fs/cgroup/job_1/memory.current": "1073741824\n",
        "sys/fs/cgroup/job_1/cpu.max": "200000 100000\n", "sys/fs/cgroup/job_1/cpu.stat": "usage_usec {usage}\nuser_usec 1\n",
        "sys/fs/cgroup/job_1/step_0/memory.max": "max\n", "sys/fs/cgroup/job_1/step_0/memory.current": "5\n",
        "sys/fs/cgroup/job_1/step_0/cpu.max": "max 100000\n", "sys/fs/cgroup/job_1/step_0/cpu.stat": "usage_usec 5\n",
    },
    "version 1": {
        "proc/self/cgroup": "4:memory:/docker/abc\n3:cpu,cpuacct:/docker/abc\n1:name=systemd:/x\n0::/\n",
        "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n", "sys/fs/cgroup/memory/memory.usage_in_bytes": "7\n",
        "sys/fs/cgroup/memory/docker/abc/memory.limit_in_bytes": "4294967296\n",
        "sys/fs/cgroup/memory/docker/abc/memory.usage_in_bytes": "1073741824\n",
        "sys/fs/cgroup/cpu,cpuacct/docker/abc/cpu.cfs_quota_us": "200000\n",
        "sys/fs/cgroup/cpu,cpuacct/docker/abc/cpu.cfs_period_us": "100000\n",
        "sys/fs/cgroup/cpuacct/docker/abc/cpuacct.usage": "{usage}000\n",
        "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "-1\n", "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
        "sys/fs/cgroup/cpuacct/cpuacct.usage": "9\n",
    },
}  # fmt: skip


@pytest.mark.parametrize("version", CGROUPS)
def test_the_limits_of_a_container_are_seen(tmp_path: Path, version: str) -> None:
    def lay(usage: int) -> None:
        for name, text in CGROUPS[version].items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text.replace("{usage}", str(usage)))

    now = [100.0]
    machine = Machine(root=str(tmp_path), clock=lambda: now[0])
    lay(1_000_000)
    assert "system/cgroup/cpu" not in machine.sample()
    now[0] = 110.0
    lay(11_000_000)
    sample = machine.sample()
    # Ten seconds of two cores, of which ten were used; a quarter of 4 GiB.
    assert sample["system/cgroup/cpu"] == pytest.approx(50.0)
    assert sample["system/cgroup/cpu_limit"] == 2.0
    assert sample["system/cgroup/memory"] == 25.0
    assert sample["system/cgroup/memory_limit_gb"] == 4.0


def test_a_machine_without_limits_says_nothing_of_them(tmp_path: Path) -> None:
    (tmp_path / "sys/fs/cgroup").mkdir(parents=True)
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text("0::/../..\n")
    (tmp_path / "sys/fs/cgroup/memory.max").write_text("max\n")
    (tmp_path / "sys/fs/cgroup/memory.current").write_text("5\n")
    assert not [name for name in Machine(root=str(tmp_path)).sample() if "cgroup" in name]


def test_a_sample_of_the_machine_costs_next_to_nothing() -> None:
    """A thousandth of a core is 15 ms at the default interval; a quiet machine takes half a millisecond."""
    import time

    machine = Machine()
    machine.sample()
    start = time.process_time()
    for _ in range(20):
        machine.sample()
    assert (time.process_time() - start) / 20 < 0.015


def test_without_proc_nothing_is_said_and_nothing_breaks(tmp_path: Path) -> None:
    machine = Machine(root=str(tmp_path))
    for _ in range(5):
        assert set(machine.sample()) <= {"system/disk", "system/disk_gb"}


@pytest.mark.parametrize(
    ("scheme", "host", "environ", "found"),
    [
        ("https", "a.org", {"https_proxy": "http://u:p%40@proxy:3128"}, ("proxy", 3128, "Basic dTpwQA==")),
        ("http", "a.org", {"HTTP_PROXY": "proxy:1"}, ("proxy", 1, "")),
        ("http", "a.org", {"HTTP_PROXY": "proxy:1", "REQUEST_METHOD": "GET"}, None),
        ("https", "x.a.org", {"all_proxy": "http://proxy", "no_proxy": "b.org, .a.org"}, None),
        ("https", "xa.org", {"all_proxy": "http://proxy", "no_proxy": "a.org"}, ("proxy", 8080, "")),
        ("https", "a.org", {"all_proxy": "http://proxy", "no_proxy": "*"}, None),
        ("http", "127.0.0.1", {"http_proxy": "http://proxy"}, None),
    ],
)
def test_proxies_come_from_the_environment(scheme: str, host: str, environ: dict[str, str], found: object) -> None:
    assert proxy_for(scheme, host, environ) == found


def test_the_wheel_is_the_same_each_time_small_and_whole(tmp_path: Path) -> None:
    wheels = []
    for name in ("a", "b"):
        subprocess.run(
            [sys.executable, str(SDK / "build_wheel.py"), str(tmp_path / name)], check=True, capture_output=True
        )
        (wheel,) = (tmp_path / name).iterdir()
        wheels.append(wheel)
    assert wheels[0].name == f"arwandb-{arwandb.__version__}-py3-none-any.whl"
    assert wheels[0].read_bytes() == wheels[1].read_bytes()
    assert wheels[0].stat().st_size <= 100_000
    with zipfile.ZipFile(wheels[0]) as archive:
        names = set(archive.namelist())
        assert {"arwandb/py.typed", f"arwandb-{arwandb.__version__}.dist-info/RECORD"} <= names
        assert {f"arwandb/{path.name}" for path in (SDK / "arwandb").glob("*.py")} <= names
        assert "Requires-Python: >=3.10" in archive.read(f"arwandb-{arwandb.__version__}.dist-info/METADATA").decode()
        archive.extractall(tmp_path / "site")
    for path in (SDK / "arwandb").rglob("*.py"):
        shipped = (tmp_path / "site" / path.relative_to(SDK)).read_text()
        assert lean_dump(shipped) == lean_dump(path.read_text()), f"{path.name} is shipped as it is, but for remarks"
    environ = {"PYTHONPATH": str(tmp_path / "site"), "PATH": "/usr/bin:/bin"}
    said = subprocess.run([sys.executable, "-c", SHIPPED], env=environ, capture_output=True, text=True)
    assert said.stdout.startswith(str(tmp_path / "site")), said.stderr


SHIPPED = """
import arwandb
from arwandb import autoresearch, Run
assert all(one.__doc__ for one in (arwandb.init, arwandb.log, Run.finish, autoresearch.experiment, autoresearch.artifact))
print(arwandb.__file__)
"""


def lean_dump(source: str) -> str:
    """The code with its line numbers, without docstrings."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if (
            isinstance(node, (ast.FunctionDef, ast.ClassDef))
            and len(node.body) > 1
            and ast.get_docstring(node) is not None
        ):
            del node.body[0]
    return ast.dump(tree, include_attributes=True)
