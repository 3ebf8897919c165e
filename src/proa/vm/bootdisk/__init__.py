"""Bootable disks from a directory with an init: GPT, an EFI system partition, an ext4 root.

``build`` puts them together; ``uki`` makes the one file that the firmware starts, ``fat`` and
``gpt`` what it is found by.
"""
