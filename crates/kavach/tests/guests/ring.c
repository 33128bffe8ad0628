/* What io_uring would do past the system call filter: it makes the calls in the kernel, and no
 * filter sees them. One request on a ring of its own; EFFECT where its completion says so. */
#include "guest.h"
#include <arpa/inet.h>
#include <linux/io_uring.h>
#include <netinet/in.h>
#include <sys/mman.h>
#include <sys/socket.h>

#define ACT(name) static void name(int argc, char **argv)

/* Submits one request and waits for its answer. */
static void submit(const struct io_uring_sqe *request) {
    struct io_uring_params p = {0};
    int ring = (int)syscall(SYS_io_uring_setup, 4, &p);
    if (ring < 0) { refused(errno); return; }
    size_t size = p.sq_off.array + p.sq_entries * sizeof(uint32_t);
    size_t cq_size = p.cq_off.cqes + p.cq_entries * sizeof(struct io_uring_cqe);
    if (cq_size > size) size = cq_size;
    char *at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, ring, IORING_OFF_SQ_RING);
    struct io_uring_sqe *sqes = mmap(NULL, p.sq_entries * sizeof *sqes, PROT_READ | PROT_WRITE, MAP_SHARED,
                                     ring, IORING_OFF_SQES);
    if (at == MAP_FAILED || sqes == MAP_FAILED || !(p.features & IORING_FEAT_SINGLE_MMAP)) exit(3);
    sqes[0] = *request;
    *(uint32_t *)(at + p.sq_off.array) = 0;
    __atomic_store_n((uint32_t *)(at + p.sq_off.tail), 1, __ATOMIC_RELEASE);
    if (syscall(SYS_io_uring_enter, ring, 1, 1, IORING_ENTER_GETEVENTS, NULL, 0L) < 0) { refused(errno); return; }
    struct io_uring_cqe *answer = (struct io_uring_cqe *)(at + p.cq_off.cqes);
    errno = -answer->res;
    outcome(answer->res < 0 ? -1 : 0);
}
ACT(open_file) {
    (void)argc;
    struct io_uring_sqe request = {.opcode = IORING_OP_OPENAT, .fd = AT_FDCWD, .addr = (uintptr_t)argv[0]};
    request.open_flags = O_RDONLY;
    submit(&request);
}
/* A raw socket for root, an ordinary one else: what the filter refuses by its first argument. */
ACT(make_socket) {
    (void)argc, (void)argv;
    struct io_uring_sqe request = {.opcode = 45 /* SOCKET */, .fd = AF_INET, .off = SOCK_DGRAM};
    submit(&request);
}
ACT(connect_to) {
    if (argc < 2) exit(2);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(argv[1]))};
    inet_pton(AF_INET, argv[0], &address.sin_addr);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct io_uring_sqe request = {.opcode = IORING_OP_CONNECT, .fd = fd, .addr = (uintptr_t)&address};
    request.off = sizeof address;
    submit(&request);
}

int main(int argc, char **argv) {
#define A(name) {#name, name}
    static const struct act acts[] = {A(open_file), A(make_socket), A(connect_to), {NULL, NULL}};
    return dispatch(acts, argc, argv);
}
