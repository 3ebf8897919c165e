"""OCI bundles as containers whose state is on disk: the runtime interface without its words.

Each operation of ``runtime.md`` ("Operations") is a function that any process can call: ``create``
leaves a parked init behind and returns, ``start`` of another process lets it go. The state lies
below a root directory (:mod:`.store`); there is no daemon and no supervisor: whoever called
``create`` (containerd's shim, conmon) is the subreaper that init is left to.
"""
