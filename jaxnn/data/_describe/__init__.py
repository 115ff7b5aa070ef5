"""What is in a data set or a file, and all that is wrong with it at once."""
