"""What controllers, devices and readers agree on: PVs, units, enumerations, document keys."""
