"""Real servers on loopback, started inside the tests."""
