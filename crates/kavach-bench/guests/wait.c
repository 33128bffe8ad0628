/* Stays until it is killed, so that its restrictions can be read from /proc. */
#include <unistd.h>
int main(void) {
    for (;;)
        pause();
}
