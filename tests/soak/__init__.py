"""The parts of `test_soak.py`: who calls, the provider that bills, what goes wrong, and the books that have to agree."""
