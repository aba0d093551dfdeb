"""Entry of the command `fdpbench`, and of `python -m fdpbench`."""

from fdpbench.arithmetic import pin_arithmetic

pin_arithmetic()

from fdpbench.commands import app  # noqa: E402  # commands import numpy


def main() -> None:
    """Run the command line."""
    app(prog_name="fdpbench")


if __name__ == "__main__":
    main()
