"""What several tests share: a broker, waiting, programs of the system."""
