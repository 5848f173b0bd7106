"""The databases of `io.kestra.plugin.jdbc`: their drivers in Python, and what JDBC URLs mean there.

A flow names its database as Java does (`jdbc:postgresql://host:5432/db?ssl=true`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote, urlsplit

from kestra_dagster.errors import TaskMisconfigured

if TYPE_CHECKING:
    from sqlalchemy import URL

_SHOWN_SECRET = re.compile(r"(?i)(password|pwd|token)=[^&;]*|//[^/@]*@")


@dataclass(frozen=True, slots=True)
class Database:
    """A database: SQLAlchemy's name of its driver, and the extra of this package that brings it.

    `scheme` is what its URLs begin with after `jdbc:`, if not with its name. `parameters` says
    what parameters of a JDBC URL are called by the driver; others have no meaning there. `read`
    takes a URL apart that is not like that of a web page.
    """

    driver: str
    extra: str
    port: int | None = None
    parameters: Mapping[str, str] = field(default_factory=dict)
    read: Callable[[str], Parts] | None = None
    in_files: bool = False
    scheme: str | None = None


@dataclass(slots=True)
class Parts:
    """What a JDBC URL says."""

    host: str | None = None
    port: int | None = None
    database: str | None = None
    username: str | None = None
    password: str | None = None
    parameters: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a database is; `ignored` are parameters of the URL that its driver does not have."""

    url: URL
    ignored: tuple[str, ...] = ()


def place_of(
    name: str, url: str, username: str | None = None, password: str | None = None
) -> Place:
    """Return where the database of a JDBC URL is; raise TaskMisconfigured where it is none."""
    from sqlalchemy import URL

    database = DATABASES[name]
    scheme, rest = f"jdbc:{database.scheme or name}:", url.strip()
    if not rest.startswith(scheme):
        raise TaskMisconfigured(
            f"`url` is `{shown(url)}`, which is no URL of this database",
            hint=f"write one that begins with `{scheme}`",
        )
    try:
        parts = (database.read or _web)(rest[len(scheme) :])
    except ValueError as error:
        raise TaskMisconfigured(f"`url` cannot be read, `{shown(url)}`: {error}") from None
    own, ignored = {}, []
    for key, value in parts.parameters.items():
        known = database.parameters.get(key)
        if known is None:
            ignored.append(key)
        else:
            own[known] = value
    return Place(
        URL.create(
            database.driver,
            username=username or parts.username,
            password=password or parts.password,
            host=parts.host,
            port=parts.port or (database.port if parts.host else None),
            database=parts.database,
            query=own,
        ),
        tuple(ignored),
    )


def shown(url: str) -> str:
    """Return a URL without what may be secret in it."""
    return _SHOWN_SECRET.sub(lambda found: "//***@" if "@" in found[0] else "***", url)


def _web(rest: str) -> Parts:
    """Read `//host:port/database?key=value`, or `database?key=value`."""
    split = urlsplit(rest)
    parameters = dict(parse_qsl(split.query, keep_blank_values=True))
    return Parts(
        host=split.hostname,
        port=split.port,
        database=unquote(split.path).lstrip("/") or None,
        username=parameters.pop("user", None) or (unquote(split.username or "") or None),
        password=parameters.pop("password", None) or (unquote(split.password or "") or None),
        parameters=parameters,
    )


def _file(rest: str) -> Parts:
    """Read a path, or nothing for a database in memory."""
    path, _, query = rest.partition("?")
    path = path.removeprefix("file:")
    return Parts(
        database=None if path in ("", ":memory:") else unquote(path),
        parameters=dict(parse_qsl(query, keep_blank_values=True)),
    )


def _semicolons(rest: str) -> Parts:
    """Read `//host:port;databaseName=db;user=...`."""
    head, *pairs = rest.split(";")
    split = urlsplit(head)
    parameters = dict(pair.split("=", 1) for pair in pairs if "=" in pair)
    names = {key.lower(): key for key in parameters}

    def take(*wanted: str) -> str | None:
        key = next((names[name] for name in wanted if name in names), None)
        return None if key is None else parameters.pop(key)

    return Parts(
        host=split.hostname,
        port=split.port,
        database=take("databasename", "database"),
        username=take("user", "username"),
        password=take("password"),
        parameters=parameters,
    )


def _oracle(rest: str) -> Parts:
    """Read `thin:@//host:port/service` or `thin:@host:port:sid`."""
    found = re.fullmatch(
        r"thin:(?:(?P<user>[^/@]+)/(?P<password>[^@]+))?@(?://)?(?P<host>[^:/]+)(?::(?P<port>\d+))?"
        r"(?:/(?P<service>[^?]+)|:(?P<sid>[^?/]+))?",
        rest,
    )
    if not found:
        raise ValueError("expected `thin:@//host:port/service`")
    parameters = {"service_name": found["service"]} if found["service"] else {}
    port = int(found["port"]) if found["port"] else None
    return Parts(
        found["host"], port, found["sid"], found["user"], found["password"], parameters
    )  # fmt: skip


def _db2(rest: str) -> Parts:
    """Read `//host:port/database:user=...;password=...;`."""
    head, _, pairs = rest.removeprefix("//").partition("/")
    database, _, properties = pairs.partition(":")
    parts = _web(f"//{head}/{database}")
    given = dict(pair.split("=", 1) for pair in properties.split(";") if "=" in pair)
    parts.username, parts.password = given.pop("user", None), given.pop("password", None)
    parts.parameters = given
    return parts


def _hana(rest: str) -> Parts:
    """Read `//host:port/?databaseName=...`."""
    parts = _web(rest)
    parts.database = parts.parameters.pop("databaseName", None) or parts.database
    return parts


def _dremio(rest: str) -> Parts:
    """Read `direct=host:port;schema=...;user=...`; the driver speaks Arrow Flight, at its port."""
    head, *pairs = rest.split(";")
    if not head.startswith("direct="):
        raise ValueError("expected `direct=host:port`")
    given = {key.lower(): value for key, _, value in (pair.partition("=") for pair in pairs)}
    parts = _web(f"//{head.removeprefix('direct=')}")
    # Its classic port is that of another protocol.
    parts.port = None if parts.port == 31010 else parts.port
    parts.database = given.pop("schema", None)
    parts.username, parts.password = given.pop("user", None), given.pop("password", None)
    parts.parameters = given
    return parts


def _druid(rest: str) -> Parts:
    """Read `remote:url=http://host:port/druid/v2/sql/avatica/;...`."""
    head, *_ = rest.removeprefix("remote:").split(";")
    if not head.startswith("url="):
        raise ValueError("expected `remote:url=http://host:port/druid/v2/sql/avatica/`")
    split = urlsplit(head.removeprefix("url="))
    return Parts(host=split.hostname, port=split.port, database="druid/v2/sql")


def _pinot(rest: str) -> Parts:
    """Read `//controller:port?...`, which also tells where queries go: to the broker beside it."""
    parts = _web(rest)
    controller = f"http://{parts.host}:{parts.port or 9000}"
    parts.parameters = {"controller": controller, **parts.parameters}
    parts.port, parts.database = None, "query/sql"
    return parts


_LIBPQ = {
    "host": "host",
    "port": "port",
    "options": "options",
    "sslmode": "sslmode",
    "sslrootcert": "sslrootcert",
    "sslcert": "sslcert",
    "sslkey": "sslkey",
    "ApplicationName": "application_name",
    "connectTimeout": "connect_timeout",
}
_SNOWFLAKE = {
    **{name: name for name in ("warehouse", "role", "account", "schema", "database")},
    "db": "database",
    "authenticator": "authenticator",
}
_MYSQL = {"charset": "charset", "unix_socket": "unix_socket", "localSocket": "unix_socket"}

DATABASES: Mapping[str, Database] = {
    "clickhouse": Database("clickhousedb", "clickhouse", 8123),
    "db2": Database("db2+ibm_db", "db2", 50000, read=_db2),
    "dremio": Database("dremio+flight", "dremio", 32010, read=_dremio, scheme="dremio"),
    "druid": Database("druid", "druid", 8082, read=_druid, scheme="avatica"),
    "duckdb": Database("duckdb", "duckdb", read=_file, in_files=True),
    "hana": Database("hana+hdbcli", "hana", 30015, read=_hana, scheme="sap"),
    "mariadb": Database("mysql+pymysql", "mysql", 3306, _MYSQL),
    "mysql": Database("mysql+pymysql", "mysql", 3306, _MYSQL),
    "oracle": Database(
        "oracle+oracledb", "oracle", 1521, {"service_name": "service_name"}, _oracle
    ),
    "pinot": Database("pinot", "pinot", 8099, {"controller": "controller"}, _pinot),
    "postgresql": Database("postgresql+psycopg2", "local", 5432, _LIBPQ),
    "redshift": Database("redshift+psycopg2", "redshift", 5439, _LIBPQ),
    "snowflake": Database("snowflake", "snowflake", parameters=_SNOWFLAKE),
    "sqlite": Database("sqlite", "local", read=_file, in_files=True),
    "sqlserver": Database("mssql+pymssql", "sqlserver", 1433, read=_semicolons),
    "trino": Database("trino", "trino", 8080),
}
"""Name in the type of a task -> how to reach such a database."""


def no_driver(name: str, error: Exception) -> TaskMisconfigured:
    """Return the error for a driver that is not installed."""
    return TaskMisconfigured(
        f"there is no driver for {name} here ({error})",
        hint=f"install it with the extra: pip install 'kestra-dagster[{DATABASES[name].extra}]'",
    )


def opened(name: str, place: Place, **options: Any) -> Any:
    """Return a SQLAlchemy engine that keeps no connections; raise TaskMisconfigured."""
    from sqlalchemy import create_engine
    from sqlalchemy.exc import ArgumentError, NoSuchModuleError
    from sqlalchemy.pool import NullPool, StaticPool

    database = DATABASES[name]
    in_memory = database.in_files and place.url.database is None
    try:
        return create_engine(
            place.url, poolclass=StaticPool if in_memory else NullPool, connect_args=options
        )
    except (NoSuchModuleError, ImportError) as error:
        raise no_driver(name, error) from None
    except (ArgumentError, TypeError) as error:
        raise TaskMisconfigured(
            f"`url` cannot be used, `{shown(str(place.url))}`: {error}"
        ) from None
