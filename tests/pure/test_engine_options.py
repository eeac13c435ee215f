"""What engines send to their workers, and the files of ids that they read."""

from __future__ import annotations

import pickle
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from fullstory_async import ClientConfig, ConfigurationError
from fullstory_async.cluster import StoreOptions
from fullstory_async.cluster.engine_options import ids_of_files

CONFIG = ClientConfig(api_key="na1.a-secret-key", base_url="http://127.0.0.1:9")
A, B, C, D = (7_100_000_000_000_000_001 + 10 * n for n in range(4))
VARIABLE = "FULLSTORY_CLUSTER_DSN"


def test_pickled_options_hold_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "postgresql://me:hunter2-hunter2@db/work")
    options = StoreOptions(config=CONFIG, budget="b", max_activations=5)
    pickled = pickle.dumps(options)
    assert b"a-secret-key" not in pickled
    assert b"hunter2" not in pickled
    monkeypatch.setenv("FULLSTORY_API_KEY", "na1.a-secret-key")
    assert pickle.loads(pickled) == options
    assert "db:5432/work" in repr(options.store())


@pytest.mark.parametrize("dsn", ["postgresql://me:hunter2@db/work", "host=db password=hunter2"])
def test_a_dsn_with_a_password_is_refused(dsn: str) -> None:
    with pytest.raises(ConfigurationError, match="must not hold the password") as caught:
        StoreOptions(dsn, CONFIG)
    assert "hunter2" not in str(caught.value)


def test_an_unreadable_dsn_is_refused_without_its_text() -> None:
    with pytest.raises(ConfigurationError, match="libpq") as caught:
        StoreOptions("password=hunter2 nonsense", CONFIG)
    assert "hunter2" not in str(caught.value)


def test_without_a_dsn_it_says_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    with pytest.raises(ConfigurationError, match=VARIABLE):
        StoreOptions(config=CONFIG).store()


def test_options_are_read_from_texts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FULLSTORY_API_KEY", "na1.a-secret-key")
    texts = {"ids": "x", "dsn": "host=db", "budget": "b", "max_activations": "50", "concurrency": "4"}
    found = StoreOptions.from_texts(texts)
    assert found == StoreOptions("host=db", budget="b", max_activations=50, concurrency=4)
    with pytest.raises(ConfigurationError, match="monthly_cap must be a whole number"):
        StoreOptions.from_texts({"monthly_cap": "many"})


def test_ids_are_read_from_text_and_parquet_each_once(tmp_path: Path) -> None:
    texts = tmp_path / "ids.txt"
    texts.write_bytes(b"\xef\xbb\xbf1:2\r\n\r\nhttps://app.fullstory.com/ui/o/session/1:2\nno id\n3:4\n")
    assert ids_of_files(str(texts)) == ["1:2", "no id", "3:4"]
    folder = tmp_path / "ids"
    folder.mkdir()
    for number in range(2):
        rows = {"device_id": [A, B], "session_id": [C, D + number], "other": ["a", "b"]}
        parquet.write_table(pa.table(rows), folder / f"part-{number}.parquet")
    assert ids_of_files(str(folder)) == [f"{A}:{C}", f"{B}:{D}", f"{B}:{D + 1}"]
    assert ids_of_files((folder / "part-1.parquet").as_uri()) == [f"{A}:{C}", f"{B}:{D + 1}"]


def test_a_place_without_a_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="there is no file"):
        ids_of_files(str(tmp_path / "a_table"))
