"""``python -m chainrule``: the same as the command ``chainrule``."""

import sys


def main() -> None:
    """Run the command line; Ctrl-C while its modules are being loaded ends it with 130."""
    try:
        from chainrule.commands import cli

        cli.main()
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
