"""The buckets of keys: how much each may still ask for."""

import sqlalchemy as sa
from alembic import op

from arwx.models import Moment

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.create_table(
        "allowances",
        sa.Column("org_id", sa.BigInteger(), nullable=False),
        sa.Column("key_id", sa.Text(), nullable=False),
        sa.Column("tokens", sa.Float(53), nullable=False),
        sa.Column("filled_at", Moment(), nullable=False),
        sa.ForeignKeyConstraint(["org_id"], ["organizations.id"], name="fk_allowances_organizations"),
        sa.PrimaryKeyConstraint("org_id", "key_id", name="pk_allowances"),
    )
