"""EPICS controllers: one front end over small backends."""
