"""From a file or a table to numbers and labels, before they are checked: one reader a format, one way out, `Raw`."""
