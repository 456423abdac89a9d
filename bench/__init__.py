"""What arwx costs, measured beside the physical limits in the same run. `python -m bench` writes RESULTS.md."""
