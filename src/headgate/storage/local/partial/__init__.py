"""The unfinished bytes of resumable uploads, which outlive their process."""
