"""The documents as a site: what the repository says, and pages that its code makes."""
