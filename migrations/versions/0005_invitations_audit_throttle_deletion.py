"""Invitations, the audit log, the throttle of logins, where sessions are, and what is marked for deletion."""

import sqlalchemy as sa
from alembic import op

from arwx.models import Json, Moment

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.add_column("organizations", sa.Column("deleted_at", Moment(), nullable=True))
    op.add_column("projects", sa.Column("deleted_at", Moment(), nullable=True))
    op.create_index("ix_projects_org_id_deleted_at", "projects", ["org_id", "deleted_at"])

    op.add_column("users", sa.Column("is_first", sa.Boolean(), nullable=True))
    op.execute("UPDATE users SET is_first = true WHERE id = (SELECT min(id) FROM users)")
    op.create_index("ix_users_is_first", "users", ["is_first"], unique=True)

    op.create_index("ix_memberships_org_id", "memberships", ["org_id"])
    op.create_index("ix_logins_user_id", "logins", ["user_id"])
    for name in ("role", "ip", "agent"):
        op.add_column("logins", sa.Column(name, sa.Text(), server_default="", nullable=False))
    op.add_column("logins", sa.Column("ends_at", Moment(), nullable=True))

    op.create_table(
        "throttles",
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("tries", Json(), nullable=False),
        sa.Column("ends_at", Moment(), nullable=False),
        sa.PrimaryKeyConstraint("subject", name="pk_throttles"),
    )
    op.create_table(
        "invitations",
        sa.Column("org_id", sa.BigInteger(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("email", sa.Text(), nullable=True),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("created_at", Moment(), nullable=False),
        sa.Column("expires_at", Moment(), nullable=False),
        sa.Column("used_at", Moment(), nullable=True),
        sa.Column("used_by", sa.Text(), nullable=True),
        sa.Column("revoked_at", Moment(), nullable=True),
        sa.ForeignKeyConstraint(["org_id"], ["organizations.id"], name="fk_invitations_organizations"),
        sa.PrimaryKeyConstraint("org_id", "id", name="pk_invitations"),
    )
    op.create_index("ix_invitations_org_id_created_at_id", "invitations", ["org_id", "created_at", "id"])
    op.create_table(
        "audit",
        sa.Column("org_id", sa.BigInteger(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("created_at", Moment(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("actor_name", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("details", Json(), nullable=False),
        sa.Column("ip", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["org_id"], ["organizations.id"], name="fk_audit_organizations"),
        sa.PrimaryKeyConstraint("org_id", "id", name="pk_audit"),
    )
    op.create_index("ix_audit_org_id_created_at_id", "audit", ["org_id", "created_at", "id"])
