from pathlib import Path

import yaml

from kestra_dagster.local.home import POSTGRES_URL, prepare_home


def settings(home: Path) -> dict:
    return yaml.safe_load((home / "dagster.yaml").read_text())


def test_a_project_without_settings_gets_ours(tmp_path: Path) -> None:
    prepare_home(tmp_path / "home", tmp_path, postgres=False)
    ours = Path(__file__).parents[2] / "dagster.yaml"
    assert settings(tmp_path / "home") == yaml.safe_load(ours.read_text())
    assert settings(tmp_path / "home")["nux"] == {"enabled": False}


def test_the_project_s_settings_are_kept_and_postgres_added(tmp_path: Path) -> None:
    (tmp_path / "dagster.yaml").write_text("run_monitoring: {enabled: true}\n")
    prepare_home(tmp_path / "home", tmp_path, postgres=True)
    assert settings(tmp_path / "home") == {
        "run_monitoring": {"enabled": True},
        "storage": {
            "custom": {
                "module": "kestra_dagster.storage",
                "class": "PostgresStorage",
                "config": {"postgres_url": {"env": POSTGRES_URL}},
            }
        },
    }
    prepare_home(tmp_path / "home", tmp_path, postgres=False)
    assert settings(tmp_path / "home") == {"run_monitoring": {"enabled": True}}


def test_a_storage_of_the_project_s_own_wins(tmp_path: Path) -> None:
    own = {"storage": {"sqlite": {"base_dir": "/somewhere"}}}
    (tmp_path / "dagster.yaml").write_text(yaml.safe_dump(own))
    prepare_home(tmp_path / "home", tmp_path, postgres=True)
    assert settings(tmp_path / "home") == own


def test_an_unchanged_file_is_not_written_again(tmp_path: Path) -> None:
    prepare_home(tmp_path / "home", tmp_path, postgres=True)
    before = (tmp_path / "home" / "dagster.yaml").stat().st_mtime_ns
    prepare_home(tmp_path / "home", tmp_path, postgres=True)
    assert (tmp_path / "home" / "dagster.yaml").stat().st_mtime_ns == before
