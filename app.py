"""What gunicorn serves."""

from arwx import create_app

app = create_app()
