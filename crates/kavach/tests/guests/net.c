/* Ways to reach the host: each sends "kavach" to a listener and says EFFECT when it was taken. */
#include "guest.h"
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/un.h>

static void send_to(int fd, const void *address, socklen_t length) {
    if (fd < 0 || connect(fd, address, length)) { refused(errno); return; }
    outcome(send(fd, "kavach", 6, MSG_NOSIGNAL));
}
static void inet(int argc, char **argv, int type) {
    struct sockaddr_in address = {.sin_family = AF_INET};
    if (argc < 2) return;
    inet_pton(AF_INET, argv[0], &address.sin_addr);
    address.sin_port = htons((uint16_t)atoi(argv[1]));
    send_to(socket(AF_INET, type, 0), &address, sizeof address);
}
static void tcp(int argc, char **argv) { inet(argc, argv, SOCK_STREAM); }
static void udp(int argc, char **argv) { inet(argc, argv, SOCK_DGRAM); }
static void local(int argc, char **argv, int abstract, int type) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (argc < 1) return;
    strncpy(address.sun_path + abstract, argv[0], sizeof address.sun_path - 2);
    socklen_t length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + (size_t)abstract + strlen(argv[0]));
    send_to(socket(AF_UNIX, type, 0), &address, abstract ? length : sizeof address);
}
static void abstract(int argc, char **argv) { local(argc, argv, 1, SOCK_STREAM); }
static void path(int argc, char **argv) { local(argc, argv, 0, SOCK_STREAM); }
static void path_dgram(int argc, char **argv) { local(argc, argv, 0, SOCK_DGRAM); }

int main(int argc, char **argv) {
    static const struct act acts[] = {
        {"tcp", tcp}, {"udp", udp}, {"abstract", abstract}, {"path", path}, {"path_dgram", path_dgram}, {NULL, NULL},
    };
    return dispatch(acts, argc, argv);
}
