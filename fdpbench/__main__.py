"""Entry of the command `fdpbench`, and of `python -m fdpbench`."""

from fdpbench.arithmetic import pin_arithmetic

pin_arithmetic()

try:
    from fdpbench.commands import app  # commands import numpy, which takes a moment
except KeyboardInterrupt:
    raise SystemExit(130) from None


def main() -> None:
    """Run the command line."""
    app(prog_name="fdpbench")


if __name__ == "__main__":
    main()
