"""What a data engine sends to its workers: how they open the store, and the ids of a file."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

import attrs
import psycopg
from psycopg.conninfo import conninfo_to_dict

from fullstory_async.cluster.store import PostgresStore
from fullstory_async.config import ClientConfig
from fullstory_async.environment import variable
from fullstory_async.errors import ConfigurationError, InvalidSessionId
from fullstory_async.ids.source import End, IdSource
from fullstory_async.models import session_id_of, text_of
from fullstory_async.privacy import hide_arguments
from fullstory_async.secret import Secret
from fullstory_async.tables.arrow import import_pyarrow
from fullstory_async.validators import shown

__all__ = ["StoreOptions", "ids_of_files"]

_DSN = "FULLSTORY_CLUSTER_DSN"


def _check_dsn(_: object, __: object, dsn: str | None) -> None:
    if dsn is not None and _settings_of(dsn).get("password") is not None:
        raise ConfigurationError(
            "dsn must not hold the password, because engines log and store what they send to workers: give "
            f"the workers {_DSN}, PGPASSFILE or PGPASSWORD"
        )


def _settings_of(dsn: str) -> Mapping[str, Any]:
    with suppress(psycopg.Error):  # its text quotes the DSN
        return conninfo_to_dict(dsn)
    raise ConfigurationError("dsn is not one that libpq can read: host=… dbname=…, or postgresql://…")


@attrs.frozen
class StoreOptions:
    """How each worker of an engine opens the store and a client.

    Engines write down what they send to workers, so this holds no secret: a worker reads the API key from its
    own environment (``FULLSTORY_API_KEY_FILE``, ``FULLSTORY_API_KEY``), and libpq the password.

    Raises:
        ConfigurationError: the DSN holds a password, or libpq can't read it.
    """

    dsn: str | None = attrs.field(default=None, validator=_check_dsn)
    """The database, without a password; by default ``FULLSTORY_CLUSTER_DSN`` of each worker's environment,
    which may hold one."""
    config: ClientConfig = attrs.field(factory=ClientConfig.from_env)
    """The settings of the clients; the rate limit is that of all workers together."""
    budget: str = "default"
    """The name of the budget, which has sessions and results of its own."""
    max_activations: int | None = None
    """The most activations that the budget may ever spend; ``None`` for the cap that it has."""
    monthly_cap: int | None = None
    """The most activations that the key may spend in a month; ``None`` for the cap that it has."""
    schema: str = "fullstory"
    """The schema of the store's tables."""
    concurrency: int | None = None
    """The most calls at a time of each task. A worker of Dask runs a task in each of its threads."""

    @classmethod
    def from_texts(cls, texts: Mapping[str, str]) -> Self:
        """Return the options that texts give, by their names; the settings are from the environment."""
        names = {"dsn", "budget", "schema", "max_activations", "monthly_cap", "concurrency"}
        given: dict[str, Any] = {name: text for name, text in texts.items() if name in names}
        for name in given.keys() - {"dsn", "budget", "schema"}:
            if not given[name].isdecimal():
                raise ConfigurationError(f"{name} must be a whole number, not {shown(given[name])}")
            given[name] = int(given[name])
        return cls(**given)

    def store(self) -> PostgresStore:
        """Return the store, not opened yet. Raises `ConfigurationError` without a DSN."""
        if self.dsn is None and variable(_DSN) is None:
            raise ConfigurationError(
                f"no Postgres: set {_DSN} in the environment of the workers, or give dsn"
            )
        # the DSN must not be in a local variable: tracebacks show them
        return PostgresStore(
            Secret(self.dsn or variable(_DSN) or ""), self.config, budget=self.budget, schema=self.schema,
            max_activations=self.max_activations, monthly_cap=self.monthly_cap,
        )  # fmt: skip


# attrs generates __init__, so it can't be decorated in the class; a refused DSN is one of its arguments
StoreOptions.__init__ = hide_arguments(StoreOptions.__init__)  # type: ignore[method-assign]


def ids_of_files(place: str) -> list[str]:
    """Return the ids of a text file with one on each line, or of Parquet files, each once.

    Args:
        place: a path, or a URL that pyarrow knows (``s3://``, ``gs://``, ``hdfs://``). A folder, or a name
            that ends with ``.parquet``, is Parquet; its column of ids is found as in a file.

    Raises:
        ConfigurationError: there is nothing in this place, or no column of ids.
    """
    import_pyarrow()
    from pyarrow import dataset, fs  # noqa: PLC0415

    url = place if "://" in place else Path(place).absolute().as_uri()
    system, path = fs.FileSystem.from_uri(url)
    kind = system.get_file_info(path).type
    if kind == fs.FileType.NotFound:
        raise ConfigurationError(f"ids: there is no file {shown(place)}; for a table, use spark_events")
    if kind == fs.FileType.Directory or path.endswith(".parquet"):
        rows: Any = dataset.dataset(path, filesystem=system, format="parquet").to_table().to_pylist()
    else:
        with system.open_input_stream(path) as stream:
            rows = stream.read().decode("utf-8-sig").splitlines()
    source = IdSource([row for row in rows if row])
    source.start()
    return list(dict.fromkeys(map(_normal, iter(source.next_now, End.END))))


def _normal(ref: Any) -> str:
    try:
        return str(session_id_of(ref))
    except InvalidSessionId:
        return text_of(ref)  # refused where it is fetched
