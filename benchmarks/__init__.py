"""What Penstock can do in numbers: `python -m benchmarks throughput|latency|state|map`, and the Nexmark queries."""
