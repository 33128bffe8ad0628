# The project's commands. Each is a script that can be run by itself.
.PHONY: demo setup install check test test-v2 test-kernels coverage real-software fuzz bench bench-quick leaks matrix faults soak package

# The main job, with no external part: builds kavach and runs a program in it.
demo:
	@scripts/setup.sh build
	cargo run -q -p kavach-cli -- exec --policy strict -- echo "hello from inside"

# Installs what a fresh Debian 12 machine lacks for the tests.
setup:
	@scripts/setup.sh test

# The command with its manual pages and completion scripts (make install
# PREFIX=$HOME/.local for yourself; DESTDIR for packages).
PREFIX ?= /usr/local
install:
	@scripts/install.sh --prefix "$(PREFIX)"

# Format, lints, documentation, every feature, dependency licences.
check:
	@scripts/setup.sh check
	@scripts/check.sh

# All tests; ends with the skips and the counts.
test: setup
	@scripts/test.sh

# Only those that run in a virtual machine, on control groups of version 2.
test-v2:
	@scripts/test-v2.sh

# Each fuzz target for so many seconds, guided by coverage (make fuzz SECONDS=300).
SECONDS ?= 60
fuzz:
	@scripts/fuzz.sh --all $(SECONDS)

# The same under each of Debian's kernels, one after the other; ten minutes each.
test-kernels:
	@scripts/test-kernels.sh

# Line coverage of the library, from all tests of this machine.
coverage: setup
	@scripts/coverage.sh

# Python's regression tests and stress-ng, outside and inside; half an hour.
real-software:
	@scripts/real-software.sh

# Every attack on every backend, into docs/security/matrix.md.
matrix:
	@scripts/matrix.sh

# Times beside bubblewrap's and hakoniwa's in the same run, into docs/benchmarks.md.
bench:
	@scripts/bench.sh

# That the benchmarks run and their tables can be written; judges no time.
bench-quick:
	@scripts/bench.sh --quick

# Creates and removes sandboxes in a row (make leaks N=10000) and compares what
# is left on the host with what was there before.
N ?= 10000
leaks:
	@scripts/leaks.sh $(N)

# Every fault many times (make faults ROUNDS=300), and what it leaves behind.
ROUNDS ?= 300
faults: setup
	@scripts/faults.sh $(ROUNDS)

# 100 000 sandboxes in a row, 1 000 at once, random acts against a model; about an hour.
soak: setup
	@scripts/soak.sh

# Builds each published crate from its own packaged sources.
package:
	cargo package --workspace --exclude kavach-bench --exclude kavach-fuzz --allow-dirty
