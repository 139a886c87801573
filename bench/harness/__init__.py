"""What `run.py` is made of: the servers, the measuring, the scenarios, the report."""
