"""From one configuration to RunEngine, devices, guard and callbacks."""
