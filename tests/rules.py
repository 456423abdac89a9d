"""The one-schema rules as code: what a table and a statement must look like so that the same schema works spread over
several machines. `tests/test_schema.py` shows that the checkers find what is wrong.
"""

from typing import Any

from sqlalchemy import BigInteger, Delete, MetaData, Select, Table, Update
from sqlalchemy.schema import ForeignKeyConstraint, PrimaryKeyConstraint, UniqueConstraint
from sqlalchemy.sql import operators, visitors
from sqlalchemy.sql.elements import BinaryExpression, BindParameter, ColumnClause

SMALL = ("reference", "local")
# Rows that nobody may change or remove, but for the erasing of a whole organization.
APPEND_ONLY = {"audit"}


def schema_problems(metadata: MetaData) -> list[str]:
    """What breaks when the tables are spread by the column that each of them declares."""
    problems: list[str] = []
    types: dict[str, str] = {}
    for table in metadata.sorted_tables:
        dist = table.info.get("dist")
        if dist is None:
            problems.append(f"{table.name}: no placement declared")
            continue
        if dist not in SMALL:
            problems += _spread_problems(table, dist, types)
        problems += _foreign_key_problems(table, dist)
    return problems


def _spread_problems(table: Table, dist: str, types: dict[str, str]) -> list[str]:
    problems = []
    if dist not in table.c:
        return [f"{table.name}: no column {dist}"]
    required = ["org_id"] if dist == "org_id" else ["org_id", dist]
    for name in required:
        if name not in table.c:
            problems.append(f"{table.name}: no column {name}")
        elif table.c[name].nullable:
            problems.append(f"{table.name}.{name}: nullable")
    if "org_id" in table.c and not isinstance(table.c.org_id.type, BigInteger):
        problems.append(f"{table.name}.org_id: not bigint")
    if types.setdefault(table.info["group"], repr(table.c[dist].type)) != repr(table.c[dist].type):
        problems.append(f"{table.name}.{dist}: type differs in its group")
    for constraint in table.constraints:
        if isinstance(constraint, PrimaryKeyConstraint | UniqueConstraint):
            problems += [
                f"{table.name}: {constraint.name} lacks {name}" for name in required if name not in constraint.columns
            ]
    for index in table.indexes:
        if index.unique:
            problems += [
                f"{table.name}: unique index {index.name} lacks {name}"
                for name in required
                if name not in index.columns
            ]
    return problems


def _foreign_key_problems(table: Table, dist: str) -> list[str]:
    problems = []
    for constraint in table.constraints:
        if not isinstance(constraint, ForeignKeyConstraint):
            continue
        target = constraint.referred_table
        target_dist = target.info.get("dist")
        if not constraint.name:
            problems.append(f"{table.name}: foreign key to {target.name} has no name")
        if (constraint.ondelete or "").upper().startswith("SET"):
            problems.append(f"{table.name}: ON DELETE {constraint.ondelete}")
        if target_dist in SMALL:
            continue
        if dist in SMALL:
            problems.append(f"{table.name}: foreign key from a {dist} table to {target.name}, which is spread")
        elif table.info["group"] != target.info["group"]:
            problems.append(f"{table.name}: foreign key to {target.name} crosses groups")
        elif (dist, target_dist) not in [(e.parent.name, e.column.name) for e in constraint.elements]:
            problems.append(f"{table.name}: foreign key to {target.name} does not pair {dist}")
    return problems


def statement_problems(statement: Any) -> list[str]:
    """Tables that a SELECT, UPDATE or DELETE touches without naming where their rows are.

    Every spread table needs `column = value` for what spreads it; a plain SELECT may also say `run_id IN (…)`.
    """
    if not isinstance(statement, Select | Update | Delete):
        return []
    if isinstance(statement, Update | Delete) and getattr(statement.table, "name", "") in APPEND_ONLY:
        if not statement.get_execution_options().get("arwx_erases"):
            return [f"{statement.table.name}: rows are only ever added"]  # type: ignore[attr-defined]
    may_fan_out = isinstance(statement, Select) and statement._for_update_arg is None
    named: set[tuple[str, str]] = set()
    tables: dict[str, Table] = {}
    for element in visitors.iterate(statement):
        if isinstance(element, Table):
            tables[element.name] = element
        elif isinstance(element, ColumnClause) and isinstance(getattr(element, "table", None), Table):
            tables[element.table.name] = element.table  # type: ignore[attr-defined]
        elif isinstance(element, BinaryExpression):
            is_named = element.operator is operators.eq or (may_fan_out and element.operator is operators.in_op)
            left, right = element.left, element.right
            if (
                is_named
                and isinstance(left, ColumnClause)
                and isinstance(right, BindParameter)
                and left.table is not None
            ):
                named.add((left.table.name, left.name))  # type: ignore[attr-defined]
    groups = {table.info.get("group") for table in tables.values() if table.info.get("dist") not in SMALL}
    problems = [f"joins the groups {sorted(map(str, groups))}"] if len(groups) > 1 else []
    for table in tables.values():
        dist = table.info.get("dist")
        if dist is None or dist in SMALL:
            continue
        problems += [f"{table.name}: no {name} = value" for name in {"org_id", dist} if (table.name, name) not in named]
    return problems
