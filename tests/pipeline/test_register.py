import json


def test_what_main_merged_becomes_a_version_once_and_its_candidate_carries_it(project):
    refused = project.merit("register")
    assert refused.returncode == 1
    assert refused.stderr == "error: register: params.yaml is not committed; commit it on a branch, and merge that\n"
    commit = project.commit("The first model", "params.yaml", "dvc.lock")

    done = project.merit("register")
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert lines[-2:] == [
        f"flights@v1: made, on {commit[:7]}",
        "MLflow: flights@v1: MLflow's version 1 carries its tags",
    ]
    again = project.merit("register")
    assert (again.returncode, again.stdout) == (0, f"flights@v1: is this package already, on {commit[:7]}\n")
    assert project.run("git", "tag").stdout == "flights@v1\n"

    shown = json.loads(project.merit("registry", "show", "v1", "--json").stdout)
    receipt = json.loads(project.read("reports/registration.json"))
    assert shown["lineage"]["package"] == receipt["package"]
    assert shown["lineage"]["run"] == receipt["run_id"]
    assert 0.5 < shown["metrics"]["roc_auc"] < 1
    checked = project.merit("registry", "check")
    assert (checked.returncode, checked.stdout) == (0, "MLflow shows what Git says\n")

    (project.folder / "mlflow.db").unlink()
    rebuilt = project.merit("registry", "rebuild")
    assert rebuilt.stdout.splitlines()[-2:] == ["flights@v1: made as MLflow's version 1", "done: 1 change"]


def test_what_conf_does_not_say_becomes_no_version(project):
    file = "conf/serve/default.yaml"
    (project.folder / file).write_text(project.read(file).replace("port: 3000", "port: 3001"))
    project.commit("A lock that conf/ has left behind", "conf", "params.yaml", "dvc.lock")
    done = project.merit("register")
    assert done.returncode == 1
    assert done.stderr.startswith("error: register: params.yaml is not what conf/ says")
    assert project.run("git", "tag").stdout == ""


def test_a_branch_registers_nothing(project):
    project.commit("The first model", "params.yaml", "dvc.lock")
    project.run("git", "switch", "--quiet", "--create", "candidate")
    project.run("git", "commit", "--quiet", "--allow-empty", "--message", "work")
    done = project.merit("register")
    assert done.returncode == 1
    assert "found candidate; only what is on main becomes a version" in done.stderr
    assert project.run("git", "tag").stdout == ""
