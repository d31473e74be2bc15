"""What is measured of the flows of an environment: from the ledger, with or without a server; kept and sent on."""
