// The native executor's machine code, aarch64. Built and compared with machine_code.py by
// tests/unit/test_runtime_machine_code.py; the layout of an entry is in proa/runtime/plan.py.
//
//   long spawn(struct clone_args *args, size_t size, char *arena, char *first)
//
// Makes clone3(args) and returns its result to the caller. The child, on its own stack, runs the
// entries from `first` on and never returns: it ends by execve or by exit_group. It touches no
// memory but the arena and calls nothing. The kernel keeps every register but x0 in a system call.
//
// x9 arena   x10 entry   x11 segment   x12 flags

        .text
        .globl  spawn
spawn:
        mov     x9, x2
        mov     x10, x3
        mov     x11, x3
        mov     x8, #435                // clone3, the same number on every architecture
        svc     #0
        cbz     x0, run
        ret

enter:                                  // the segment is at its end: go to the next one
        ldr     x0, [x10, #8]
        add     x11, x11, x0
        mov     x10, x11
run:
        sub     x0, x10, x9
        str     x0, [x9, #8]            // current entry, for the parent
        ldr     w8, [x10]
        cmn     w8, #1
        b.eq    enter
        ldr     w12, [x10, #4]
        lsr     w13, w12, #8            // kinds, argument 5 in the lowest four bits
        mov     x14, #48
argument:
        ldr     x0, [x10, x14]          // argument i lies at 8+8*i
        tbz     w13, #0, 1f
        add     x0, x0, x11
1:      tbz     w13, #1, 2f
        add     x0, x0, x9
2:      tbz     w13, #2, 3f
        ldr     x0, [x0]
3:      str     x0, [sp, #-16]!
        lsr     w13, w13, #4
        subs    x14, x14, #8
        b.ne    argument
        ldr     x0, [sp], #16
        ldr     x1, [sp], #16
        ldr     x2, [sp], #16
        ldr     x3, [sp], #16
        ldr     x4, [sp], #16
        ldr     x5, [sp], #16
        svc     #0
        str     x0, [x10, #56]
        mrs     x1, cntvct_el0
        str     x1, [x10, #64]
        ldrh    w1, [x10, #76]          // slot that keeps the result
        cbz     w1, 4f
        str     x0, [x9, x1]
4:      cmn     x0, #4095
        b.hs    error
        tbz     w12, #3, 5f             // a result above zero is a failure
        cbnz    x0, fail
5:      tbnz    w12, #1, skip           // skip when it went well
next:
        add     x10, x10, #80
        b       run
error:
        tbnz    w12, #0, tolerated      // every error is tolerated
        neg     w0, w0
        ldr     w1, [x10, #72]          // up to four tolerated error numbers
        mov     w2, #4
6:      and     w3, w1, #0xff
        cmp     w3, w0
        b.eq    tolerated
        lsr     w1, w1, #8
        subs    w2, w2, #1
        b.ne    6b
fail:
        sub     x0, x10, x9
        str     x0, [x9]                // failed entry
        mov     x0, #125
        mov     x8, #94                 // exit_group
        svc     #0
tolerated:
        tbz     w12, #2, next           // skip when an error was tolerated
skip:
        ldrh    w1, [x10, #78]
        mov     w2, #80
        madd    x10, x1, x2, x10
        b       next

// void become(char *stack, long, char *arena, char *first)
//
// The calling thread itself runs the entries and never returns. Last in the text: its start is
// BECOME_BYTES before the end (native.py).
        .globl  become
become:
        mov     sp, x0
        mov     x9, x2
        mov     x10, x3
        mov     x11, x3
        b       run
