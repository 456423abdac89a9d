"""Sessions, experiments and decisions."""

import sqlalchemy as sa
from alembic import op

from arwx.models import Json, Moment

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.add_column("projects", sa.Column("experiment_count", sa.BigInteger(), server_default="0", nullable=False))
    op.create_table(
        "sessions",
        sa.Column("org_id", sa.BigInteger(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("project_id", sa.Text(), nullable=False),
        sa.Column("tag", sa.Text(), nullable=True),
        sa.Column("branch", sa.Text(), nullable=True),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("created_at", Moment(), nullable=False),
        sa.ForeignKeyConstraint(
            ["org_id", "project_id"], ["projects.org_id", "projects.id"], name="fk_sessions_projects"
        ),
        sa.PrimaryKeyConstraint("org_id", "id", name="pk_sessions"),
    )
    op.create_index(
        "ix_sessions_org_id_project_id_created_at_id", "sessions", ["org_id", "project_id", "created_at", "id"]
    )
    op.create_table(
        "experiments",
        sa.Column("org_id", sa.BigInteger(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("project_id", sa.Text(), nullable=False),
        sa.Column("session_id", sa.Text(), nullable=False),
        sa.Column("index", sa.BigInteger(), nullable=False),
        sa.Column("note", sa.Text(), nullable=True),
        sa.Column("commit", sa.Text(), nullable=True),
        sa.Column("parent", sa.Text(), nullable=True),
        sa.Column("parent_id", sa.Text(), nullable=True),
        sa.Column("run_id", sa.Text(), nullable=True),
        sa.Column("config", Json(), nullable=True),
        sa.Column("diff_sha", sa.Text(), nullable=True),
        sa.Column("repro_key", sa.Text(), nullable=False),
        sa.Column("tree_sha", sa.Text(), nullable=True),
        sa.Column("decision_count", sa.BigInteger(), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("created_at", Moment(), nullable=False),
        sa.Column("diff", sa.Text(), nullable=True),
        sa.Column("tree", Json(), nullable=True),
        sa.ForeignKeyConstraint(
            ["org_id", "project_id"], ["projects.org_id", "projects.id"], name="fk_experiments_projects"
        ),
        sa.ForeignKeyConstraint(
            ["org_id", "session_id"], ["sessions.org_id", "sessions.id"], name="fk_experiments_sessions"
        ),
        sa.PrimaryKeyConstraint("org_id", "id", name="pk_experiments"),
        sa.UniqueConstraint("org_id", "project_id", "index", name="uq_experiments_org_id_project_id_index"),
    )
    op.create_index("ix_experiments_org_id_project_id_repro_key", "experiments", ["org_id", "project_id", "repro_key"])
    op.create_index("ix_experiments_org_id_session_id", "experiments", ["org_id", "session_id"])
    op.create_table(
        "decisions",
        sa.Column("org_id", sa.BigInteger(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("project_id", sa.Text(), nullable=False),
        sa.Column("experiment_id", sa.Text(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("score", sa.Float(53), nullable=True),
        sa.Column("metric", sa.Text(), nullable=False),
        sa.Column("lower_is_better", sa.Boolean(), nullable=False),
        sa.Column("note", sa.Text(), nullable=True),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("created_at", Moment(), nullable=False),
        sa.ForeignKeyConstraint(
            ["org_id", "experiment_id"], ["experiments.org_id", "experiments.id"], name="fk_decisions_experiments"
        ),
        sa.PrimaryKeyConstraint("org_id", "id", name="pk_decisions"),
        sa.UniqueConstraint("org_id", "experiment_id", "number", name="uq_decisions_org_id_experiment_id_number"),
    )
    op.create_index("ix_decisions_org_id_project_id", "decisions", ["org_id", "project_id"])
