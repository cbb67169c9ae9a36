"""Tests: unit, flow (memory doors), contract, wire (real Kafka)."""
