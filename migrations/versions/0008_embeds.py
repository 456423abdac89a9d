"""Pictures of projects that anybody may see by a secret address."""

import sqlalchemy as sa
from alembic import op

from arwx.models import Moment

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    op.create_table(
        "embeds",
        sa.Column("org_id", sa.BigInteger(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("project_id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("created_at", Moment(), nullable=False),
        sa.ForeignKeyConstraint(
            ["org_id", "project_id"], ["projects.org_id", "projects.id"], name="fk_embeds_projects"
        ),
        sa.PrimaryKeyConstraint("org_id", "id", name="pk_embeds"),
        sa.UniqueConstraint("org_id", "hash", name="uq_embeds_org_id_hash"),
    )
    op.create_index("ix_embeds_org_id_project_id", "embeds", ["org_id", "project_id"])
