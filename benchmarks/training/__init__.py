"""The paper's comparison, run again: small models of its five systems, trained with norms and with Derf."""
