"""Entry of `python -m prep`."""

from prep.arithmetic import pin_arithmetic

pin_arithmetic()

from prep.cli import app  # noqa: E402  # imports numpy

if __name__ == "__main__":
    app(prog_name="python -m prep")
