/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Shows a session to libvncclient: after so many updates its framebuffer goes to standard output.
   Arguments: port, updates, JPEG quality, bits per pixel, maximum and shift of red, green, blue. */

#include <rfb/rfbclient.h>
#include <stdio.h>
#include <stdlib.h>

static int left;

static void finished(rfbClient *client) {
    if (--left)
        return;
    size_t size = (size_t)client->width * client->height * (client->format.bitsPerPixel / 8);
    fwrite(client->frameBuffer, 1, size, stdout);
    fflush(stdout);
    exit(0);
}

int main(int argc, char **argv) {
    if (argc != 11)
        return 2;
    int bits = atoi(argv[4]);
    rfbClient *client = rfbGetClient(8, 3, bits / 8);
    left = atoi(argv[2]);
    client->appData.qualityLevel = atoi(argv[3]);
    client->format.bitsPerPixel = bits;
    client->format.depth = bits == 32 ? 24 : bits;
    client->format.redMax = atoi(argv[5]);
    client->format.redShift = atoi(argv[6]);
    client->format.greenMax = atoi(argv[7]);
    client->format.greenShift = atoi(argv[8]);
    client->format.blueMax = atoi(argv[9]);
    client->format.blueShift = atoi(argv[10]);
    client->FinishedFrameBufferUpdate = finished;
    client->serverHost = strdup("127.0.0.1");
    client->serverPort = atoi(argv[1]);
    client->canHandleNewFBSize = FALSE;
    if (!rfbInitClient(client, NULL, NULL))
        return 1;
    for (;;)
        if (WaitForMessage(client, 1000000) < 0 || !HandleRFBServerMessage(client))
            return 1;
}
