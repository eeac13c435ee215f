"""``python -m fullstory_async``: the command line."""

from fullstory_async.cli import main

if __name__ == "__main__":
    main()
