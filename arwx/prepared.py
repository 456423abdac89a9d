"""Statements of the way in: made with SQLAlchemy like all others, compiled once, and then run by the driver itself.

What SQLAlchemy does around a statement costs ten times as much as SQLite needs for a small one. Where every request
passes through, that is a good part of the whole; everywhere else it is nothing.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, cast

from sqlalchemy import BindParameter, Dialect, bindparam
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session
from sqlalchemy.sql.dml import UpdateBase
from sqlalchemy.sql.selectable import SelectBase
from sqlalchemy.types import TypeDecorator

Values = Mapping[str, Any]
Statement = SelectBase | UpdateBase
_Convert = Callable[[Any], Any]


def named(*columns: str) -> dict[str, BindParameter[Any]]:
    """For `values`: each of these columns is set to the value of its own name."""
    return {name: bindparam(name) for name in columns}


class Prepared:
    """One statement. It runs in the transaction of the session that it is given."""

    def __init__(self, statement: Statement) -> None:
        self._statement = statement
        self._by_dialect: dict[str, _Compiled] = {}

    def one(self, db: Session, values: Values) -> tuple[Any, ...] | None:
        """The only row that there is, or None."""
        rows = self.all(db, values)
        return rows[0] if rows else None

    def all(self, db: Session, values: Values) -> list[tuple[Any, ...]]:
        """All rows."""
        return self._run(db, (values,))

    def run(self, db: Session, *rows: Values) -> None:
        """Write, once for each of the rows."""
        if rows:
            self._run(db, rows)

    def _run(self, db: Session, rows: Sequence[Values]) -> list[tuple[Any, ...]]:
        connection = db.connection()
        dialect = connection.dialect
        for listen in connection.dispatch.before_execute:
            listen(connection, self._statement, rows, {}, {})
        compiled = self._by_dialect.get(dialect.name)
        if compiled is None:
            compiled = self._by_dialect[dialect.name] = _compile(self._statement, dialect)
        driver = cast("Any", dialect).loaded_dbapi
        try:
            return compiled.run(connection.connection.driver_connection, rows)
        except driver.Error as error:
            is_gone = dialect.is_disconnect(error, cast("Any", connection.connection.driver_connection), None)
            if is_gone:
                # As after any statement of SQLAlchemy: the session rolls nothing back on it, the pool forgets it.
                connection.invalidate(error)
            # The rest of the house knows failures of the driver by the names that SQLAlchemy gives them.
            raise cast(
                "DBAPIError",
                DBAPIError.instance(
                    compiled.sql, None, error, driver.Error, connection_invalidated=is_gone, dialect=dialect
                ),
            ) from error


@dataclass(frozen=True, slots=True)
class _Compiled:
    """The statement in the words of one database, and what becomes of values on their way in and out."""

    sql: str
    pick: Callable[[Values], tuple[Any, ...]]
    is_positional: bool
    has_rows: bool
    binders: list[tuple[str, _Convert]]
    loaders: list[tuple[int, _Convert]]

    def run(self, driver: Any, rows: Sequence[Values]) -> list[tuple[Any, ...]]:
        # PostgreSQL is asked for binary: bytes are twice as long in its text form.
        cursor = driver.cursor() if self.is_positional else driver.cursor(binary=True)
        if len(rows) == 1:
            cursor.execute(self.sql, self._bound(rows[0]))
        else:
            cursor.executemany(self.sql, [self._bound(values) for values in rows])
        found = cursor.fetchall() if self.has_rows else []
        return [self._loaded(row) for row in found] if self.loaders else found

    def _bound(self, values: Values) -> Any:
        if self.binders:
            values = {**values, **{name: bind(values[name]) for name, bind in self.binders}}
        return self.pick(values) if self.is_positional else values

    def _loaded(self, row: Sequence[Any]) -> tuple[Any, ...]:
        found = list(row)
        for at, load in self.loaders:
            found[at] = load(found[at])
        return tuple(found)


def _compile(statement: Statement, dialect: Dialect) -> _Compiled:
    compiled = statement.compile(dialect=dialect)
    names = tuple(compiled.positiontup or compiled.binds)
    binders = [(name, compiled.binds[name].type.dialect_impl(dialect).bind_processor(dialect)) for name in set(names)]
    columns = list(statement.selected_columns) if isinstance(statement, SelectBase) else []
    # Both drivers give numbers, text and bytes as they are; only our own types make something else of them.
    loaders = [
        (at, column.type.dialect_impl(dialect).result_processor(dialect, None))
        for at, column in enumerate(columns)
        if isinstance(column.type, TypeDecorator)
    ]
    return _Compiled(
        str(compiled),
        itemgetter(*names),
        compiled.positiontup is not None,
        bool(columns),
        [(name, bind) for name, bind in binders if bind is not None],
        [(at, load) for at, load in loaders if load is not None],
    )
