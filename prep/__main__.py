"""Entry of `python -m prep`."""

from prep.cli import app

if __name__ == "__main__":
    app(prog_name="python -m prep")
