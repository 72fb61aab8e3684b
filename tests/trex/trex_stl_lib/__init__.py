"""What TRex's own package of this name offers to profiles, as far as ours use it."""
