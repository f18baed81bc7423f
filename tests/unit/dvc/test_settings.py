from pathlib import Path

import pytest

from merit.dvc import settings
from merit.errors import MeritError
from tests.support.planted_outputs import Planted

REMOTE = "['remote \"storage\"']\n"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[core]\nanalytics = false\nremote = storage\nautostage = true\n",
        "[cache]\ntype = reflink,hardlink,copy\n",
        f"{REMOTE}url = s3://models/flights\nendpointurl = http://127.0.0.1:1\nregion = eu-1\njobs = 4\n",
    ],
)
def test_where_the_data_is_and_how_it_is_linked_may_be_said(planted: Planted, text: str) -> None:
    Path(".dvc/config").write_text(text)
    planted.git("add", ".")
    settings.check_settings(Path())


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("[core]\nsite_cache_dir = here\n", "core.site_cache_dir"),  # what lies there is unpickled
        ("[core]\nno_scm = true\n", "core.no_scm"),
        ("[CORE]\nSite_Cache_Dir = here\n", "core.site_cache_dir"),
        ("[cache]\ndir = ../.venv\n", "cache.dir"),
        ("[cache]\nshared = group\n", "cache.shared"),
        ("[cache]\nlocal = storage\n", "cache.local"),
        (f"{REMOTE}url = webdav://x\nbearer_token_command = touch x\n", "remote.storage.bearer_token_command"),
        (f"{REMOTE}url = s3://x\nconfigpath = x\n", "remote.storage.configpath"),  # it may name a credential_process
        (f"{REMOTE}url = s3://x\ncredentialpath = x\n", "remote.storage.credentialpath"),
        (f"{REMOTE}url = s3://x\nprofile = admin\n", "remote.storage.profile"),
        (f"{REMOTE}url = ssh://x\nkeyfile = ~/.ssh/id_rsa\n", "remote.storage.keyfile"),
        (f"{REMOTE}url = https://x\nssl_verify = false\n", "remote.storage.ssl_verify"),
        (f"{REMOTE}url = https://x\npassword = x\n", "remote.storage.password"),
        (f"{REMOTE}url = x\nworktree = true\n", "remote.storage.worktree"),
        ("[hydra]\nenabled = true\n", "hydra.enabled"),
        ("[plots]\nhtml_template = x\n", "plots.html_template"),
        ("[exp]\nauto_push = true\n", "exp.auto_push"),
        ("['db \"x\"']\nurl = x\n", "db.x.url"),
        ("['machine \"x\"']\nstartup_script = x\n", "machine.x.startup_script"),
        ("[studio]\nurl = x\n", "studio.url"),
        ("remote = x\n", ".remote"),
        ("[unknown]\nkey = x\n", "unknown.key"),
    ],
)
def test_what_could_do_more_is_for_the_machine_alone(planted: Planted, text: str, key: str) -> None:
    Path(".dvc/config").write_text(text)
    with pytest.raises(MeritError, match=rf"^\.dvc/config: {key}: not allowed in a file that Git brings; move it to"):
        settings.check_settings(Path())
    Path(".dvc/config").unlink()
    Path(".dvc/config.local").write_text(text)
    settings.check_settings(Path())


@pytest.mark.parametrize("name", ["config.local", "tmp/x", "cache/files/md5/00/x", "config.d", "plotsx"])
def test_what_git_may_not_bring_into_dvcs_folder_is_refused(planted: Planted, name: str) -> None:
    file = Path(".dvc", name)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("x")
    settings.check_settings(Path())
    planted.git("add", "--force", ".dvc")
    with pytest.raises(MeritError, match=rf"^\.dvc/{name}: Git tracks it, but it is for this machine alone"):
        settings.check_settings(Path())


def test_templates_of_plots_may_be_brought(planted: Planted) -> None:
    Path(".dvc/plots").mkdir()
    Path(".dvc/plots/roc.json").write_text("{}")
    planted.git("add", ".")
    settings.check_settings(Path())


@pytest.mark.parametrize("name", [".dvc", ".dvc/config"])
def test_a_link_in_its_place_is_refused(planted: Planted, name: str) -> None:
    Path(name).rename("elsewhere")
    Path(name).symlink_to("elsewhere" if name == ".dvc" else "../elsewhere")
    with pytest.raises(MeritError, match=rf"^{name}: is a link"):
        settings.check_settings(Path())


@pytest.mark.parametrize("text", ["[core\nsecret\n", "[core]\nremote = %(secret)s\n", "\x00secret", "[core]\nsecret"])
def test_a_config_that_is_none_is_told_without_its_text(planted: Planted, text: str) -> None:
    Path(".dvc/config").write_text(text)
    with pytest.raises(MeritError, match=r"^\.dvc/config: can't be read; correct it") as caught:
        settings.check_settings(Path())
    assert "secret" not in str(caught.value)
