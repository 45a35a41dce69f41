"""A run: its snapshot of the code, its stages through DVC, its worktree when it is isolated."""
