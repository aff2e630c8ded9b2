"""The whole suite on one machine: embedded servers, all services, software devices."""
