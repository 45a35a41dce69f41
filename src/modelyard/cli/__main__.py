"""``python -m modelyard.cli``: the command line where no script is installed, as in a worktree."""

from modelyard.cli import main

main()
