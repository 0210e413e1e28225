"""``python -m chainrule``: the same as the command ``chainrule``."""

import sys

if __name__ == "__main__":
    try:
        from chainrule.commands.cli import main

        main()
    except KeyboardInterrupt:  # while modules are still being loaded
        sys.exit(130)
