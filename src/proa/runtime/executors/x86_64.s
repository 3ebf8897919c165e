# The native executor's machine code, x86-64. Built and compared with machine_code.py by
# tests/unit/test_runtime_machine_code.py; the layout of an entry is in proa/runtime/plan.py.
#
#   long spawn(struct clone_args *args, size_t size, char *arena, char *first)
#
# Makes clone3(args) and returns its result to the caller. The child, on its own stack, runs the
# entries from `first` on and never returns: it ends by execve or by exit_group. It touches no
# memory but the arena and calls nothing.
#
# rbx arena   r12 entry   r13 segment   rbp flags   r14 result

        .intel_syntax noprefix
        .text
        .globl  spawn
spawn:
        push    rbx
        push    r12
        push    r13
        mov     rbx, rdx
        mov     r12, rcx
        mov     r13, rcx
        mov     eax, 435                # clone3, the same number on every architecture
        syscall
        test    rax, rax
        jz      run
        pop     r13
        pop     r12
        pop     rbx
        ret

enter:                                  # the segment is at its end: go to the next one
        add     r13, [r12+8]
        mov     r12, r13
run:
        mov     rax, r12
        sub     rax, rbx
        mov     [rbx+8], rax            # current entry, for the parent
        cmp     dword ptr [r12], -1
        je      enter
        mov     ebp, [r12+4]
        mov     esi, ebp
        shr     esi, 8                  # kinds, argument 5 in the lowest four bits
        mov     ecx, 6
argument:
        mov     rdx, [r12+rcx*8]        # argument rcx-1 lies at 8+8*(rcx-1)
        test    sil, 1
        jz      1f
        add     rdx, r13
1:      test    sil, 2
        jz      2f
        add     rdx, rbx
2:      test    sil, 4
        jz      3f
        mov     rdx, [rdx]
3:      push    rdx
        shr     esi, 4
        dec     ecx
        jnz     argument
        pop     rdi
        pop     rsi
        pop     rdx
        pop     r10
        pop     r8
        pop     r9
        mov     eax, [r12]
        syscall
        mov     r14, rax
        mov     [r12+56], rax
        rdtsc
        shl     rdx, 32
        or      rax, rdx
        mov     [r12+64], rax
        movzx   eax, word ptr [r12+76]  # slot that keeps the result
        test    eax, eax
        jz      4f
        mov     [rbx+rax], r14
4:      cmp     r14, -4095
        jae     error
        test    bpl, 8                  # a result above zero is a failure
        jz      5f
        test    r14, r14
        jnz     fail
5:      test    bpl, 2                  # skip when it went well
        jnz     skip
next:
        add     r12, 80
        jmp     run
error:
        neg     r14d
        test    bpl, 1                  # every error is tolerated
        jnz     tolerated
        mov     eax, [r12+72]           # up to four tolerated error numbers
        mov     ecx, 4
6:      cmp     al, r14b
        je      tolerated
        shr     eax, 8
        dec     ecx
        jnz     6b
fail:
        mov     rax, r12
        sub     rax, rbx
        mov     [rbx], rax              # failed entry
        mov     edi, 125
        mov     eax, 231                # exit_group
        syscall
tolerated:
        test    bpl, 4                  # skip when an error was tolerated
        jz      next
skip:
        movzx   eax, word ptr [r12+78]
        imul    eax, eax, 80
        add     r12, rax
        jmp     next

# void become(char *stack, long, char *arena, char *first)
#
# The calling thread itself runs the entries and never returns. Last in the text: its start is
# BECOME_BYTES before the end (native.py).
        .globl  become
become:
        mov     rsp, rdi
        mov     rbx, rdx
        mov     r12, rcx
        mov     r13, rcx
        .byte   0xe9                    # jmp run, in its long form whatever the distance
        .long   run - (. + 4)
