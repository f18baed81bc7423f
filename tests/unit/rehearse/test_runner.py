from typing import Any

import pytest
from rehearse import UnknownError
from rehearse.forge import Forge
from rehearse.workflow import Workflow

from tests.unit.rehearse.conftest import Rehearse

PIN = "0" * 40


def _steps(*steps: str, job: str = "") -> str:
    lines = "".join(f"      - {step}\n" for step in steps)
    return f"jobs:\n  a:\n    runs-on: ubuntu-24.04\n{job}    steps:\n{lines}"


def test_outputs_environment_and_path_reach_later_steps(rehearse: Rehearse) -> None:
    run = rehearse(
        """
jobs:
  a:
    runs-on: ubuntu-24.04
    steps:
      - id: x
        run: |
          echo n=3 >> $GITHUB_OUTPUT
          printf 't<<E\\na\\nb\\nE\\n' >> $GITHUB_OUTPUT
      - run: |
          echo V=1 >> $GITHUB_ENV
          mkdir bin; echo echo found > bin/tool; chmod +x bin/tool; echo $PWD/bin >> $GITHUB_PATH
          echo done >> $GITHUB_STEP_SUMMARY
      - run: tool; echo $V ${{ env.V }} ${{ steps.x.outputs.n }}; echo "$T"
        env: {T: "${{ steps.x.outputs.t }}"}
"""
    )
    assert run.steps[-1].log == "found\n1 1 3\na\nb"
    assert (run.conclusion, run.summary) == ("success", "done\n")


@pytest.mark.parametrize(
    ("step", "conclusion"),
    [
        ('{run: "false | true"}', "success"),
        ('{run: "false | true", shell: bash}', "failure"),
        ('{run: "false; true"}', "failure"),
        ('{run: "exit 3", continue-on-error: true}', "success"),
        ("{run: \"import os; print(os.environ['CI'])\", shell: python}", "success"),
        ('{run: "echo $NOSUCH"}', "success"),
        ('{run: "sleep 30", timeout-minutes: 0.01}', "failure"),
        ('{run: "test $(basename $PWD) = sub", working-directory: "${{ inputs.folder }}"}', "success"),
    ],
)
def test_a_shell_ends_as_github_lets_it_end(
    rehearse: Rehearse, monkeypatch: pytest.MonkeyPatch, step: str, conclusion: str
) -> None:
    run = rehearse(_steps('{run: "mkdir sub"}', step), inputs={"folder": "sub"})
    assert run.conclusion == conclusion


def test_a_step_after_a_failure_runs_only_where_it_says_so(rehearse: Rehearse) -> None:
    run = rehearse(
        _steps(
            '{id: broken, run: "exit 1"}',
            '{run: "true"}',
            '{if: always(), run: "true"}',
            "{if: failure() && steps.broken.outcome == 'failure', run: \"true\"}",
            '{if: "${{ !cancelled() }}", run: "true"}',
        )
    )
    assert [step.outcome for step in run.steps] == ["failure", "skipped", "success", "success", "success"]
    assert run.conclusion == "failure"


def test_a_job_gets_the_outputs_of_those_it_needs_and_is_skipped_if_they_failed(rehearse: Rehearse) -> None:
    jobs = """
jobs:
  last: {needs: [first, broken], runs-on: ubuntu-24.04, steps: [{run: "true"}]}
  told: {needs: first, runs-on: ubuntu-24.04, steps: [{run: "echo ${{ needs.first.outputs.n }}"}]}
  anyway: {needs: broken, if: "${{ always() && needs.broken.result == 'failure' }}", runs-on: ubuntu-24.04,
           steps: [{run: "echo anyway"}]}
  first:
    runs-on: ubuntu-24.04
    outputs: {n: "${{ steps.x.outputs.n }}"}
    steps: [{id: x, run: "echo n=5 >> $GITHUB_OUTPUT"}]
  broken: {runs-on: ubuntu-24.04, steps: [{run: "exit 1"}]}
"""
    run = rehearse(jobs)
    assert [step.log for step in run.steps] == ["", "Error: Process completed with exit code 1.", "5", "anyway"]


def test_a_matrix_from_an_expression_makes_a_job_each(rehearse: Rehearse) -> None:
    matrix = "    strategy: {fail-fast: false, matrix: {t: \"${{ fromJSON('[1,2,3]') }}\", u: [a]}}\n"
    run = rehearse(_steps('{run: "echo ${{ matrix.t }}${{ matrix.u }}; test ${{ matrix.t }} != 2"}', job=matrix))
    assert [step.log.splitlines()[0] for step in run.steps] == ["1a", "2a", "3a"]
    assert run.conclusion == "failure"


def test_a_fork_gets_no_secret_and_a_token_that_may_only_read(rehearse: Rehearse, forge: Forge) -> None:
    job = "    permissions: {contents: read, statuses: write}\n"
    step = '{run: "curl -s -o /dev/null -w %{http_code} -X POST -H \\"Authorization: Bearer $T\\" -d ''{}'' ' \
           '$GITHUB_API_URL/repos/house/model/statuses/' + PIN + '; echo \\" [$K]\\"", ' \
           'env: {T: "${{ github.token }}", K: "${{ secrets.KEY }}"}}'  # fmt: skip
    assert rehearse(_steps(step, job=job), is_fork=True).steps[0].log == "403 []"
    assert forge.refused == [f"POST /repos/house/model/statuses/{PIN}"]
    assert "[***]" in rehearse(_steps(step, job=job)).steps[0].log


@pytest.mark.parametrize(
    ("inputs", "commits", "keeps"),
    [("", "1", True), ("fetch-depth: 0", "2", True), ("persist-credentials: false", "1", False)],
)
def test_a_clone_is_as_deep_as_declared_and_keeps_the_token_only_if_it_may(
    rehearse: Rehearse, inputs: str, commits: str, keeps: bool
) -> None:
    checkout = f"{{uses: actions/checkout@{PIN}, with: {{{inputs}}}}}"
    steps = (checkout, '{run: "git rev-list --count HEAD; grep -c AUTHORIZATION .git/config || true"}')
    run = rehearse(_steps(*steps, job="    permissions: {contents: read}\n"))
    assert run.steps[-1].log.split() == [commits, "1" if keeps else "0"]
    assert rehearse(_steps(checkout)).conclusion == "failure"


@pytest.mark.parametrize(
    ("keeps", "level", "conclusion"),
    [("true", "write", "success"), ("false", "write", "failure"), ("true", "read", "failure")],
)
def test_nobody_pushes_without_credentials(rehearse: Rehearse, keeps: str, level: str, conclusion: str) -> None:
    checkout = f"{{uses: actions/checkout@{PIN}, with: {{persist-credentials: {keeps}}}}}"
    steps = (checkout, '{run: "git push -q origin HEAD:refs/heads/new"}')
    run = rehearse(_steps(*steps, job=f"    permissions: {{contents: {level}}}\n"))
    assert run.conclusion == conclusion
    assert ("no credentials: refused" in run.steps[-1].log) == (conclusion == "failure")


def test_an_artifact_goes_from_job_to_job_without_hidden_files_unless_asked_for(rehearse: Rehearse) -> None:
    jobs = f"""
jobs:
  make:
    runs-on: ubuntu-24.04
    steps:
      - run: mkdir -p out/.hidden; echo 1 > out/a.txt; echo 2 > out/b.txt; echo 3 > out/.hidden/c.txt
      - uses: actions/upload-artifact@{PIN}
        with: {{name: both, path: "out/a.txt\\nout/b.txt"}}
      - uses: actions/upload-artifact@{PIN}
        with: {{name: all, path: out, include-hidden-files: true}}
      - uses: actions/upload-artifact@{PIN}
        with: {{name: some, path: out}}
      - uses: actions/upload-artifact@{PIN}
        with: {{name: none, path: nosuch, if-no-files-found: ignore}}
  take:
    needs: make
    runs-on: ubuntu-24.04
    steps:
      - uses: actions/download-artifact@{PIN}
        with: {{path: here}}
      - run: cd here && find . -type f | sort
"""
    log = rehearse(jobs).steps[-1].log
    assert log.split() == ["./all/.hidden/c.txt", "./all/a.txt", "./all/b.txt", "./both/a.txt", "./both/b.txt",
                           "./some/a.txt", "./some/b.txt"]  # fmt: skip


@pytest.mark.parametrize(
    "text",
    [
        _steps(f"{{uses: actions/cache@{PIN}}}"),
        _steps("{uses: actions/checkout@v4}"),
        _steps(f"{{uses: actions/checkout@{PIN}, with: {{submodules: true}}}}"),
        _steps('{run: "true", shell: pwsh}'),
        _steps('{run: "${{ nosuch() }}"}'),
        _steps('{run: "${{ nosuch.x }}"}'),
        _steps("{run: x, retries: 3}"),
        _steps("{name: nothing}"),
        _steps('{run: "true"}', job="    container: debian\n"),
        _steps('{run: "true"}', job="    needs: nosuch\n"),
        _steps('{run: "true"}', job="    strategy: {matrix: {a: [1], exclude: []}}\n"),
        _steps('{run: "true"}').replace("ubuntu-24.04", "windows-2022"),
        _steps('{run: "echo odd >> $GITHUB_OUTPUT"}'),
        _steps('{run: "true"}') + "services: {}\n",
    ],
)
def test_what_the_rehearsal_does_not_know_stops_it(rehearse: Rehearse, text: str) -> None:
    with pytest.raises(UnknownError):
        rehearse(text)


@pytest.mark.parametrize("on", ["schedule", "{pull_request: {paths-ignore: [x]}}", "[push, merge_group]"])
def test_an_event_that_it_does_not_know_stops_it(on: str) -> None:
    with pytest.raises(UnknownError):
        Workflow.read("w.yml", f"on: {on}\njobs: {{}}\n")


@pytest.mark.parametrize(
    ("on", "event", "payload", "answers"),
    [
        ("pull_request", "pull_request", {"action": "opened"}, True),
        ("pull_request", "pull_request", {"action": "labeled"}, False),
        ("{pull_request: {types: [labeled]}}", "pull_request", {"action": "labeled"}, True),
        ("{workflow_run: {workflows: [pr], types: [completed]}}", "workflow_run",
         {"action": "completed", "workflow_run": {"name": "pr"}}, True),
        ("{workflow_run: {workflows: [pr], types: [completed]}}", "workflow_run",
         {"action": "completed", "workflow_run": {"name": "other"}}, False),
        ("push", "pull_request", {"action": "opened"}, False),
    ],
)  # fmt: skip
def test_a_workflow_answers_its_events(on: str, event: str, payload: dict[str, Any], answers: bool) -> None:
    assert Workflow.read("w.yml", f"on: {on}\njobs: {{}}\n").answers(event, payload) is answers
