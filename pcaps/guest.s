# SPDX-License-Identifier: GPL-2.0-or-later
#
# A guest of one sector, for recordings that need a machine that draws and beeps. It waits for two seconds, then
# shows 320 by 200 in 256 colours: the right half of plain blocks as windows are, and half a second later the left
# half, smooth as a photograph is. Then a square in the left half moves and a plain one in the right half changes
# its colour, one step a tick (18.2 a second), 48 times, while the speaker sounds; then all is still. What comes on
# the first serial port, if there is one, goes back.
#
# prepare.py assembles it (GNU as and ld, of binutils). The BIOS starts it at 0000:7c00, in real mode.

        .code16
        .intel_syntax noprefix
        .globl _start
_start:
        cli
        xor     ax, ax
        mov     ds, ax
        mov     ss, ax
        mov     sp, 0x7c00
        sti
        cld

        mov     si, offset text
print:
        lodsb
        mov     ah, 0x0e
        int     0x10
        call    send
        cmp     al, 10
        jne     print
        mov     cx, 36
        call    pause

        mov     ax, 0x13                # 320x200, 256 colours, at a000:0000
        int     0x10
        push    0xa000
        pop     es

        mov     dx, 0x3c8               # the palette: red rises, green falls, blue waves
        xor     ax, ax
        out     dx, al
        inc     dx
        xor     cl, cl
palette:
        mov     al, cl
        shr     al, 2
        out     dx, al
        xor     al, 0x3f
        out     dx, al
        mov     al, cl
        test    al, 0x40
        jz      rising
        not     al
rising:
        and     al, 0x3f
        out     dx, al
        inc     cl
        jnz     palette

        mov     di, 160                 # the right half: blocks of 20 by 16
        xor     dx, dx                  # dx: row
blocks:
        mov     cx, 160
block:
        mov     ax, cx
        mov     bl, 20
        div     bl
        mov     ah, dl
        shr     ah, 4
        add     al, ah
        imul    ax, ax, 37
        stosb
        loop    block
        add     di, 160
        inc     dx
        cmp     dl, 200
        jne     blocks

        mov     cx, 9
        call    pause

        xor     bp, bp                  # the left half: 160 by 200, which picture
        xor     di, di
        mov     bx, 160
        mov     si, 200
        call    draw
        mov     cx, 9
        call    pause

        mov     al, 0xb6                # the speaker: 440 Hz
        out     0x43, al
        mov     ax, 2712
        out     0x42, al
        mov     al, ah
        out     0x42, al
        in      al, 0x61
        or      al, 3
        out     0x61, al
move:
        inc     bp                      # the square: 56 by 56
        mov     di, 320 * 16 + 16
        mov     bx, 56
        mov     si, bx
        call    draw
        mov     ax, bp                  # the plain one: 32 by 32
        imul    ax, ax, 17
        mov     di, 320 * 32 + 240
        mov     dx, 32
plain:
        mov     cx, 32
        rep     stosb
        add     di, 320 - 32
        dec     dx
        jnz     plain
        mov     cx, 1
        call    pause
        cmp     bp, 48
        jne     move

        in      al, 0x61
        and     al, 0xfc
        out     0x61, al
still:
        hlt
echo:
        mov     dx, 0x3fd
        in      al, dx
        cmp     al, 0xff                # there is no port
        je      still
        test    al, 1
        jz      still
        mov     dl, 0xf8
        in      al, dx
        call    send
        jmp     echo

send:                                   # al, on the serial port
        mov     dx, 0x3fd
        mov     ah, al
busy:
        in      al, dx
        test    al, 0x20
        jz      busy
        mov     al, ah
        mov     dl, 0xf8
        out     dx, al
        ret

draw:                                   # bx by si pixels at es:di; a colour is x + y, and 4 more each time
        xor     dx, dx
row:
        xor     cx, cx
pixel:
        mov     ax, bp
        shl     ax, 2
        add     ax, cx
        add     ax, dx
        stosb
        inc     cx
        cmp     cx, bx
        jne     pixel
        add     di, 320
        sub     di, bx
        inc     dx
        cmp     dx, si
        jne     row
        ret

pause:                                  # cx ticks of the clock
        hlt
        mov     ax, [0x46c]
        cmp     ax, [last]
        je      pause
        mov     [last], ax
        loop    pause
        ret

last:   .word   0
text:   .ascii  "firstbyte\r\n"
        .org    510
        .word   0xaa55
