"""What is generated in the pages of the repository, from results that are kept."""
