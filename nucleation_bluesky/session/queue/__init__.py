"""The queue server: Redis, RE manager and a gateway, all on the loopback, all with keys.

Clients reach the gateway alone. It passes on what its list allows, which the manager itself cannot
restrict: uploading a script would run anyone's code in the worker, whatever the permissions file.
"""
