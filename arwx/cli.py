"""The `arwx` command. Exit code 0: done, 1: found something, 2: cannot start; one plain line says why."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import click
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from arwx import (
    __main__,
    audit,
    backup,
    blobstore,
    config,
    db,
    deletion,
    fsck,
    keys,
    members,
    organizations,
    people,
    results,
    runs,
    schema,
    sweep,
    transfer,
)
from arwx.access import LEVELS, ROLE_LEVELS, Scope
from arwx.errors import ArwxError, Invalid, NotFound


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Serve and look after an arwx experiment tracker."""


@main.command()
def serve() -> None:
    """Serve on $PORT with gunicorn, in the foreground."""
    __main__.serve()


@main.command()
def migrate() -> None:
    """Bring the database to the schema of this version. Safe to repeat."""
    try:
        schema.upgrade(db.Database(_settings().database_url))
    except config.CannotStart as error:
        _stop(str(error), 2)
    except SQLAlchemyError as error:
        _stop(f"The database cannot be migrated: {_first_line(error)}", 2)


@main.group()
def user() -> None:
    """Accounts."""


@user.command("add")
@click.argument("email")
@click.option("--org", required=True, help="Slug or name of the organization; it is made when it is not there.")
@click.option("--role", type=click.Choice(list(ROLE_LEVELS)), default="member", show_default=True)
@click.option("--password-stdin", is_flag=True, help="Read the password from standard input instead of asking.")
def user_add(email: str, org: str, role: str, password_stdin: bool) -> None:
    """Make an account, or take an existing one into one more organization."""
    with _database(_settings()) as session:
        known = people.find(session, email)
        if known is None:
            password = (
                sys.stdin.readline().rstrip("\n")
                if password_stdin
                else click.prompt("Password", hide_input=True, confirmation_prompt=True)
            )
            known = people.add_user(session, email, password)
        try:
            organization = organizations.named(session, org)
        except NotFound:
            organization = organizations.add(session, org)
        members.join(session, known, organization, role)
        audit.record(_operator(session, organization.id), "member.added", known.email, role=role)
        click.echo(f"{known.email} is {role} of {organization.name} ({organization.slug}).")


@user.command("reset")
@click.argument("email")
def user_reset(email: str) -> None:
    """Print a link with which the person sets a new password, once, within an hour."""
    settings = _settings()
    with _database(settings) as session:
        known = people.find(session, email)
        if known is None:
            raise NotFound(f"No account has the e-mail {email}.")
        token = people.reset_token(settings.secret_key, known)
    click.echo(f"{settings.base_url or f'http://127.0.0.1:{settings.port}'}/reset/{token}")


@main.group()
def key() -> None:
    """API keys."""


@key.command("new")
@click.option("--org", required=True, help="Slug or name of the organization.")
@click.option("--name", required=True, help="What the key is for.")
@click.option("--scope", type=click.Choice(LEVELS), default="write", show_default=True)
def key_new(org: str, name: str, scope: str) -> None:
    """Make a key and print its secret, alone on one line."""
    with _database(_settings()) as session:
        _, secret = keys.mint(_operator(session, organizations.named(session, org).id), name, scope)
    click.echo(secret)


@key.command("revoke")
@click.argument("key_id")
def key_revoke(key_id: str) -> None:
    """Make a key useless at once."""
    with _database(_settings()) as session:
        # The id alone does not say whose key it is; on the command line the operator may reach all.
        for org_id in organizations.all_ids(session):
            operator = _operator(session, org_id)
            if any(row.id == key_id for row in keys.listed(operator)):
                keys.revoke(operator, key_id)
                break
        else:
            raise NotFound(f"No working key has the id {key_id}.")
    click.echo(f"{key_id} is revoked.")


@key.command("list")
@click.option("--org", required=True, help="Slug or name of the organization.")
def key_list(org: str) -> None:
    """Show the keys that work: id, scope, beginning and end, name."""
    with _database(_settings()) as session:
        for row in keys.listed(_operator(session, organizations.named(session, org).id)):
            click.echo(f"{row.id}  {row.scope:5}  {row.prefix}…{row.last_four}  {row.name}")


@main.command()
def gc() -> None:
    """Take away for good what was deleted, and compact what runs left. Safe to repeat, to stop, and while serving."""
    with _data() as (database, store):
        swept = sweep.everything(database, store)
        counts = ", ".join(f"{count} {name}" for name, count in vars(swept).items() if count)
        click.echo(f"Gone for good: {counts}." if counts else "Nothing to take away.")
        if compacted := runs.compact(database):
            click.echo(f"Compacted: {compacted} runs.")


@main.command()
@click.argument("slug")
def undelete(slug: str) -> None:
    """Take back the end of an organization, within a day. Its owners take back that of a project themselves."""
    with _database(_settings()) as session:
        org = deletion.restore_organization(session, slug)
    click.echo(f"{org.name} ({org.slug}) is back.")


@main.command("fsck")
def check() -> None:
    """Read everything that is stored and compare: blobs, what refers to them, points. One line for each finding."""
    count = 0
    with _data() as (database, store):
        for line in fsck.findings(database, store):
            click.echo(line)
            count += 1
    if count:
        sys.exit(1)
    click.echo("Everything is as it was stored.")


@main.command("backup")
@click.argument("folder", metavar="DIR", type=click.Path(file_okay=False, path_type=Path))
def back_up(folder: Path) -> None:
    """Copy the database and all blobs into a folder, while serving. Again into the same folder copies what is new."""
    settings = _settings()
    with _data() as (database, store):
        try:
            kept = backup.make(database, store, settings, folder)
        except config.CannotStart as error:
            _stop(str(error), 2)
    for line in kept.problems:
        click.echo(line)
    if kept.problems:
        _stop(f"{folder} has the database, but the server itself has lost blobs. Run: arwx fsck", 1)
    apart = "" if settings.blobs_at == "db:" else f" and {kept.blobs} blobs, {kept.copied} of them new"
    click.echo(f"{folder} has the database{apart}.")


@main.command("export")
@click.argument("project")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--org", help="Slug or name of the organization; needed when there are several.")
def export_project(project: str, file: Path, org: str | None) -> None:
    """Write all of a project into one file, for another server or to be read with ordinary tools."""
    with _data() as (database, store):
        with database.reading() as session:
            org_id = _org_id(session, org)
        done = transfer.pack(database, store, org_id, project, file)
    click.echo(f"{file} has the project {project}: {done.runs} runs, {done.points:,} points, {done.blobs} blobs.")


@main.command("import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--org", help="Slug or name of the organization; needed when there are several.")
@click.option("--project", help="Another name for the project.")
def import_project(file: Path, org: str | None, project: str | None) -> None:
    """Make a project of an exported file. All of it or nothing; the same file again changes nothing."""
    with _data() as (database, store):
        with database.reading() as session:
            org_id = _org_id(session, org)
        try:
            done = transfer.unpack(database, store, org_id, file, project)
        except Invalid as error:
            _stop(f"{file}: {error.message}", 1)
    for line in done.notes:
        click.echo(line, err=True)
    counts = f"{done.runs} runs, {done.points:,} points, {done.blobs} blobs"
    click.echo(
        f"{done.project} is imported: {counts}." if done.is_new else f"{done.project} is here already: {counts}."
    )


@main.command("import-results")
@click.argument("table", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--project", required=True, help="Name of the project; it is made when it is not there.")
@click.option("--org", help="Slug or name of the organization; needed when there are several.")
def import_results(table: Path, project: str, org: str | None) -> None:
    """Make experiments of a results.tsv. Safe to repeat: what is there already stays as it is."""
    try:
        rows = results.read(table.read_bytes().decode())
    except (ArwxError, UnicodeDecodeError) as error:
        _stop(f"{table}: {error.message if isinstance(error, ArwxError) else 'this is no UTF-8 text'}", 1)
    with _database(_settings()) as session:
        done = results.store(_operator(session, _org_id(session, org)), project, rows)
    click.echo(f"{done.new} experiments imported, {done.known} were there already.")


@main.command("export-results")
@click.option("--project", required=True, help="Name of the project.")
@click.option("--org", help="Slug or name of the organization; needed when there are several.")
def export_results(project: str, org: str | None) -> None:
    """Print what was tried and judged as a results.tsv."""
    with _database(_settings()) as session:
        operator = _operator(session, _org_id(session, org))
        for line in results.write(operator, operator.project(project)):
            click.echo(line, nl=False)


def run() -> None:
    """Run the command that the arguments name. What is wrong with them is told in one plain line, as everything else."""
    try:
        sys.exit(main(standalone_mode=False))
    except click.Abort:
        _stop("Nothing was done.", 1)
    except click.ClickException as error:
        _stop(error.format_message(), error.exit_code)


def _org_id(session: Session, org: str | None) -> int:
    """The organization of this name, or without one, the only one that there is."""
    if org is not None:
        return organizations.named(session, org).id
    known = organizations.all_ids(session)
    if len(known) != 1:
        raise NotFound("Say which organization: --org ORG." if known else "There is no organization yet.")
    return known[0]


def _operator(session: Session, org_id: int) -> Scope:
    """Whoever may run commands on this machine may do everything."""
    return Scope(session, org_id, "admin", "cli")


def _settings() -> config.Settings:
    try:
        return config.from_environment()
    except config.CannotStart as error:
        _stop(str(error), 2)


@contextmanager
def _database(settings: config.Settings) -> Iterator[Session]:
    """A transaction on a database that has the right schema; every failure ends in one plain line."""
    database = db.Database(settings.database_url)
    try:
        with database.reading() as session:
            if trouble := schema.trouble(session, in_detail=True):
                _stop(trouble, 2)
        with database.writing() as session:
            yield session
    except ArwxError as error:
        _stop(error.message, 1)
    except SQLAlchemyError as error:
        _stop(f"The database refused: {_first_line(error)}", 2)


@contextmanager
def _data() -> Iterator[tuple[db.Database, blobstore.Store]]:
    """Database and blobs, for work that makes its own transactions; every failure ends in one plain line."""
    settings = _settings()
    with _database(settings):
        pass  # it is there, and has the right schema
    database = db.Database(settings.database_url)
    try:
        yield database, blobstore.open_store(settings.blobs_at, database)
    except ArwxError as error:
        _stop(error.message, 1)
    except SQLAlchemyError as error:
        _stop(f"The database refused: {_first_line(error)}", 2)
    except OSError as error:
        _stop(f"{error.filename or 'The disk'}: {error.strerror}", 2)


def _first_line(error: Exception) -> str:
    return str(getattr(error, "orig", None) or error).strip().splitlines()[0]


def _stop(line: str, code: int) -> NoReturn:
    click.echo(line, err=True)
    sys.exit(code)
