"""What containers write: drivers, Docker's json-file format, rotation, reading and following.

:mod:`proa.engine.logs.drivers` is the entry: ``validate_log_config``, ``open_log_writer`` (one per
supervisor) and ``open_log_reader``.
"""
