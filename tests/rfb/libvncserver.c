/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A screen of libvncserver with its TightVNC file transfer, on a free port of 127.0.0.1 that it prints.
   Arguments: -ftproot DIRECTORY. It serves until its standard input ends. */

#include <arpa/inet.h>
#include <poll.h>
#include <rfb/rfb.h>
#include <stdio.h>
#include <unistd.h>

int main(int argc, char **argv) {
    rfbLogEnable(FALSE);
    rfbRegisterTightVNCFileTransferExtension();
    rfbScreenInfoPtr screen = rfbGetScreen(&argc, argv, 16, 16, 8, 3, 4);
    if (!screen)
        return 1;
    screen->frameBuffer = calloc(16 * 16, 4);
    screen->listenInterface = inet_addr("127.0.0.1");
    screen->autoPort = TRUE;
    screen->ipv6port = -1;
    rfbInitServer(screen);
    printf("%d\n", screen->port);
    fflush(stdout);
    struct pollfd input = {.fd = STDIN_FILENO, .events = POLLIN};
    while (!poll(&input, 1, 0))
        rfbProcessEvents(screen, 10000);
    return 0;
}
