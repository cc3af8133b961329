"""One file a figure: its options, its table of numbers, and its description in words."""
