"""Runs that were put away: kept, and out of the lists."""

import sqlalchemy as sa
from alembic import op

from arwx.models import Moment

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.add_column("runs", sa.Column("archived_at", Moment(), nullable=True))
