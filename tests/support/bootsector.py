"""An operating system of 166 bytes, for machines that boot from a disk's first sector.

It says ``sector up`` on the first serial line and then obeys single letters: ``r`` reads the second
sector of its disk and says ``=`` and its first byte; ``q`` switches the machine off; any other
letter is echoed and written to that sector. Assembled from this, in AT&T syntax::

    start: cli; xorw %ax,%ax; movw %ax,%ds; movw %ax,%es; movw %ax,%ss; movw $0x7c00,%sp; sti
           movb %dl,drive
           movw $0x3fb,%dx; movb $0x80,%al; outb %al,%dx        # 115200 baud
           movw $0x3f8,%dx; movb $1,%al; outb %al,%dx; incw %dx; xorb %al,%al; outb %al,%dx
           movw $0x3fb,%dx; movb $3,%al; outb %al,%dx; movw $msg,%si
    next:  lodsb; testb %al,%al; jz loop; call putc; jmp next
    loop:  movw $0x3fd,%dx; inb %dx,%al; testb $1,%al; jz loop; movw $0x3f8,%dx; inb %dx,%al
           cmpb $'r',%al; je read; cmpb $'q',%al; je quit
           movb %al,0x7e00; movw $0x0301,%ax; call disk; movb 0x7e00,%al; call putc; jmp loop
    read:  movb $'?',0x7e00; movw $0x0201,%ax; call disk
           movb $'=',%al; call putc; movb 0x7e00,%al; call putc; jmp loop
    quit:  movw $0x604,%dx; movw $0x2000,%ax; outw %ax,%dx      # ACPI: S5
    halt:  hlt; jmp halt
    disk:  movw $0x7e00,%bx; movw $2,%cx; xorb %dh,%dh; movb drive,%dl; int $0x13; ret
    putc:  pushw %ax; movw $0x3fd,%dx
    wait:  inb %dx,%al; testb $0x20,%al; jz wait; popw %ax; movw $0x3f8,%dx; outb %al,%dx; ret
    msg:   .asciz "sector up\\r\\n"
    drive: .byte 0
"""

from __future__ import annotations

from pathlib import Path

GREETING = b"sector up"

_CODE = bytes.fromhex(
    "fa31c08ed88ec08ed0bc007cfb8816a57cbafb03b080eebaf803b001ee4230c0"
    "eebafb03b003eebe997cac84c07405e85800ebf6bafd03eca80174f8baf803ec"
    "3c7274153c717429a2007eb80103e82a00a0007ee83300ebdbc606007e3fb801"
    "02e81700b03de82100a0007ee81b00ebc3ba0406b80020eff4ebfdbb007eb902"
    "0030f68a16a57ccd13c350bafd03eca82074fb58baf803eec3736563746f7220"
    "75700d0a0000"
)


def write_disk(path: Path, size_bytes: int = 1 << 20) -> None:
    """Make a raw disk that boots it."""
    sector = _CODE.ljust(510, b"\0") + b"\x55\xaa"
    with path.open("wb") as stream:
        stream.write(sector)
        stream.truncate(size_bytes)
