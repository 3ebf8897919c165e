// The init of `--init`, aarch64; see x86_64.s for what it does.
//
// x19 argv of the command   x20 environment   x21 its pid   x22 scratch on the stack
// x23 what is left of PATH   x24 exit code if nothing can be executed

        .text
        .globl  _start
_start:
        ldr     x1, [sp]                // argc
        add     x19, sp, #16            // argv[1]
        add     x20, sp, x1, lsl #3
        add     x20, x20, #16
        sub     sp, sp, #8192
        mov     x22, sp                 // 0: signal set, 8: status, 16: siginfo, 256: path
        mov     x0, #-1
        str     x0, [x22]
        bl      mask
        mov     x0, #17                 // SIGCHLD
        mov     x1, #0
        mov     x2, #0
        mov     x3, #0
        mov     x4, #0
        mov     x8, #220                // clone
        svc     #0
        cbz     x0, child
        mov     x21, x0

wait:
        mov     x0, x22
        add     x1, x22, #16
        mov     x2, #0
        mov     x3, #8
        mov     x8, #137                // rt_sigtimedwait
        svc     #0
        cmp     x0, #0
        b.le    wait                    // interrupted
        cmp     x0, #17
        b.eq    reap
        mov     x1, x0
        mov     x0, x21
        mov     x8, #129                // kill
        svc     #0
        b       wait

reap:
        mov     x0, #-1
        add     x1, x22, #8
        mov     x2, #1                  // WNOHANG
        mov     x3, #0
        mov     x8, #260                // wait4
        svc     #0
        cmp     x0, #0
        b.le    wait                    // nobody else has ended
        cmp     x0, x21
        b.ne    reap
        ldr     w1, [x22, #8]
        ands    w0, w1, #0x7f
        b.ne    killed
        ubfx    w0, w1, #8, #8
        b       exit
killed:
        add     w0, w0, #128
exit:
        mov     x8, #94                 // exit_group
        svc     #0

mask:                                   // SIG_SETMASK of [x22]
        mov     x0, #2
        mov     x1, x22
        mov     x2, #0
        mov     x3, #8
        mov     x8, #135                // rt_sigprocmask
        svc     #0
        ret

child:
        mov     x0, #0
        mov     x1, #0
        mov     x8, #154                // setpgid: a group of its own
        svc     #0
        mov     x8, #172                // getpid
        svc     #0
        str     w0, [x22, #8]
        mov     x0, #0
        mov     x1, #0x5410             // TIOCSPGRP; no matter if there is no terminal
        add     x2, x22, #8
        mov     x8, #29                 // ioctl
        svc     #0
        str     xzr, [x22]
        bl      mask
        mov     w24, #127
        ldr     x1, [x19]
slash:
        ldrb    w0, [x1], #1
        cmp     w0, #'/'
        b.eq    direct
        cbnz    w0, slash

        mov     x2, x20
find:                                   // PATH= in the environment
        ldr     x1, [x2], #8
        cbz     x1, fail
        ldrb    w0, [x1], #1
        cmp     w0, #'P'
        b.ne    find
        ldrb    w0, [x1], #1
        cmp     w0, #'A'
        b.ne    find
        ldrb    w0, [x1], #1
        cmp     w0, #'T'
        b.ne    find
        ldrb    w0, [x1], #1
        cmp     w0, #'H'
        b.ne    find
        ldrb    w0, [x1], #1
        cmp     w0, #'='
        b.ne    find
        mov     x23, x1

each:
        add     x2, x22, #256
        add     x3, x22, #4096          // PATH_MAX bounds what can be executed
copy:
        ldrb    w0, [x23]
        cbz     w0, name
        add     x23, x23, #1
        cmp     w0, #':'
        b.eq    name
        strb    w0, [x2], #1
        cmp     x2, x3
        b.lo    copy
        b       fail
name:
        mov     w0, #'/'
        strb    w0, [x2], #1
        ldr     x1, [x19]
append:
        ldrb    w0, [x1], #1
        strb    w0, [x2], #1
        cmp     x2, x3
        b.hs    fail
        cbnz    w0, append
        add     x0, x22, #256
        bl      execute
        ldrb    w0, [x23]
        cbnz    w0, each
        b       fail

direct:
        ldr     x0, [x19]
        bl      execute
fail:
        mov     x0, #2
        adr     x1, message
        mov     x2, #(message_end - message)
        mov     x8, #64                 // write
        svc     #0
        mov     w0, w24
        b       exit

execute:
        mov     x1, x19
        mov     x2, x20
        mov     x8, #221                // execve; returns only when it fails
        svc     #0
        cmn     x0, #2                  // ENOENT
        b.eq    absent
        cmn     x0, #20                 // ENOTDIR
        b.eq    absent
        mov     w24, #126
absent:
        ret

message:
        .ascii  "init: the command cannot be executed, or is not in PATH\n"
message_end:
