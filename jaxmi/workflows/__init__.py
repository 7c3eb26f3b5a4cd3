"""What a subcommand does, from files to files, callable from Python."""
