"""For those who test flows and connectors: real servers on a free loopback port (`penstock.testing.servers`)."""
