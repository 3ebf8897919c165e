# The init of `--init`, x86-64: process 1 of a container that reaps and passes signals on.
# Built and compared with program.py by tests/unit/test_runtime_init.py.
#
#   init COMMAND [ARG...]
#
# Blocks all signals and waits for them one by one. The command runs in a process group of its own,
# in the foreground of the terminal if there is one, with nothing blocked. A signal is sent on to it;
# SIGCHLD means to reap everything there is; the command's end is init's end, with its exit code, or
# 128 + n when signal n ended it. The command is looked up in PATH. 126: none of what was found can
# be executed; 127: nothing was found.
#
# r12 argv of the command   r13 environment   r14 its pid   r15 what is left of PATH
# rbx scratch on the stack   rbp exit code if nothing can be executed

        .intel_syntax noprefix
        .text
        .globl  _start
_start:
        lea     r12, [rsp+16]           # argv[1]
        mov     rcx, [rsp]              # argc
        lea     r13, [rsp+rcx*8+16]
        sub     rsp, 8192
        mov     rbx, rsp                # 0: signal set, 8: status, 16: siginfo, 256: path
        mov     qword ptr [rbx], -1
        call    mask
        mov     eax, 57                 # fork
        syscall
        test    rax, rax
        jz      child
        mov     r14, rax

wait:
        mov     rdi, rbx
        lea     rsi, [rbx+16]
        xor     edx, edx
        mov     r10d, 8
        mov     eax, 128                # rt_sigtimedwait
        syscall
        test    rax, rax
        jle     wait                    # interrupted
        cmp     eax, 17                 # SIGCHLD
        je      reap
        mov     rsi, rax
        mov     rdi, r14
        mov     eax, 62                 # kill
        syscall
        jmp     wait

reap:
        mov     rdi, -1
        lea     rsi, [rbx+8]
        mov     edx, 1                  # WNOHANG
        xor     r10d, r10d
        mov     eax, 61                 # wait4
        syscall
        test    rax, rax
        jle     wait                    # nobody else has ended
        cmp     rax, r14
        jne     reap
        mov     eax, [rbx+8]
        mov     edi, eax
        and     edi, 0x7f
        jnz     killed
        shr     eax, 8
        movzx   edi, al
        jmp     exit
killed:
        add     edi, 128
exit:
        mov     eax, 231                # exit_group
        syscall

mask:                                   # SIG_SETMASK of [rbx]
        mov     edi, 2
        mov     rsi, rbx
        xor     edx, edx
        mov     r10d, 8
        mov     eax, 14                 # rt_sigprocmask
        syscall
        ret

child:
        xor     edi, edi
        xor     esi, esi
        mov     eax, 109                # setpgid: a group of its own
        syscall
        mov     eax, 39                 # getpid
        syscall
        mov     [rbx+8], eax
        xor     edi, edi
        mov     esi, 0x5410             # TIOCSPGRP; no matter if there is no terminal
        lea     rdx, [rbx+8]
        mov     eax, 16                 # ioctl
        syscall
        mov     qword ptr [rbx], 0
        call    mask
        mov     ebp, 127
        mov     rsi, [r12]
slash:
        mov     al, [rsi]
        inc     rsi
        cmp     al, '/'
        je      direct
        test    al, al
        jnz     slash

        mov     rdx, r13
find:                                   # PATH= in the environment
        mov     rsi, [rdx]
        test    rsi, rsi
        jz      fail
        add     rdx, 8
        cmp     dword ptr [rsi], 0x48544150     # "PATH"
        jne     find
        cmp     byte ptr [rsi+4], '='
        jne     find
        add     rsi, 5
        mov     r15, rsi                # what is left of PATH

each:
        lea     rdi, [rbx+256]
        lea     r8, [rbx+4096]          # PATH_MAX bounds what can be executed
copy:
        mov     al, [r15]
        test    al, al
        jz      name
        inc     r15
        cmp     al, ':'
        je      name
        mov     [rdi], al
        inc     rdi
        cmp     rdi, r8
        jb      copy
        jmp     fail
name:
        mov     byte ptr [rdi], '/'
        inc     rdi
        mov     rsi, [r12]
append:
        mov     al, [rsi]
        mov     [rdi], al
        inc     rsi
        inc     rdi
        cmp     rdi, r8
        jae     fail
        test    al, al
        jnz     append
        lea     rdi, [rbx+256]
        call    execute
        cmp     byte ptr [r15], 0
        jne     each
        jmp     fail

direct:
        mov     rdi, [r12]
        call    execute
fail:
        mov     edi, 2
        lea     rsi, message[rip]
        mov     edx, offset message_end - message
        mov     eax, 1                  # write
        syscall
        mov     edi, ebp
        jmp     exit

execute:
        mov     rsi, r12
        mov     rdx, r13
        mov     eax, 59                 # execve; returns only when it fails
        syscall
        cmp     eax, -2                 # ENOENT
        je      absent
        cmp     eax, -20                # ENOTDIR
        je      absent
        mov     ebp, 126
absent:
        ret

message:
        .ascii  "init: the command cannot be executed, or is not in PATH\n"
message_end:
