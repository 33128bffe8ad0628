#!/usr/bin/env python3
"""Runs programs' own tests outside and inside a sandbox, and compares test by test.

    real-software.py --kavach PROGRAM --work DIRECTORY [--policy NAME]... [--seconds N] [MODULE...]

Python's regression tests (Debian's libpython3.11-testsuite) as this user: outside, and under each
policy (default: basic, strict). MODULEs are names such as test_os; default: SYSTEM below, what
asks the system for most; `all` is the whole suite. Then every class of stress-ng inside, each
stressor for a second, of which none may end the sandbox.

Prints one line for each difference: `policy: test: outside -> inside: why`, and the counts.
"""

import argparse
import os
import subprocess
import sys
import xml.etree.ElementTree as xml

# Files, processes, signals, threads, memory, terminals, sockets, time.
SYSTEM = """test_epoll test_fcntl test_file test_fileio test_fork1 test_genericpath test_getpass test_glob
 test_grp test_httpservers test_ioctl test_io test_largefile test_locale test_mmap test_netrc test_openpty
 test_os test_pathlib test_pkgutil test_poll test_popen test_posix test_posixpath test_pty test_pwd
 test_resource test_runpy test_select test_selectors test_shutil test_signal test_site test_socket
 test_socketserver test_spwd test_sqlite3 test_stat test_subprocess test_sys test_syslog test_tarfile
 test_tempfile test_thread test_threading test_threadsignals test_time test_timeout test_tty test_uuid
 test_urllib2_localnet test_wait3 test_wait4 test_zipapp test_zipfile""".split()

ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "TERM": "dumb"}


def outcomes(report):
    """Of each test: ok, failed, error or skipped, and the first line of why."""
    found = {}
    for case in xml.parse(report).getroot().iter("testcase"):
        kind, why = "ok", ""
        for name, state in (("failure", "failed"), ("error", "error"), ("skipped", "skipped")):
            node = case.find(name)
            if node is not None:
                kind = state
                text = (node.text or node.get("message") or "").strip()
                why = text.splitlines()[-1] if text else ""
        # A test that is run again after its module failed counts as it went last.
        found[case.get("classname", "") + "." + case.get("name", "")] = (kind, why)
    return found


def python(at, modules, prefix):
    """The outcomes of the modules in the directory `at`, and those that gave none."""
    os.makedirs(at, exist_ok=True)
    found, silent = {}, []
    for module in modules:
        report = os.path.join(at, module + ".xml")
        line = [*prefix, "/usr/bin/python3", "-m", "test", "-u", "none", "--timeout", "240",
                "--junit-xml", report, module]
        with open(os.path.join(at, module + ".txt"), "wb") as log:
            subprocess.run(line, cwd=at, env={**ENVIRONMENT, "HOME": at}, stdin=subprocess.DEVNULL,
                           stdout=log, stderr=subprocess.STDOUT, timeout=900)
        try:
            found.update({f"{module}: {name}": how for name, how in outcomes(report).items()})
        except (OSError, xml.ParseError):
            silent.append(module)
    return found, silent


def stress(kavach, policy, seconds):
    """Every class of stress-ng inside; the exit code of each and what is left of the sandbox."""
    classes = ("cpu", "cpu-cache", "device", "filesystem", "interrupt", "io", "memory", "network", "os",
               "pipe", "scheduler", "security", "vm")
    for name in classes:
        line = [kavach, "exec", "--policy", policy, "--timeout", "1200s", "--", "/usr/bin/stress-ng",
                "--class", name, "--sequential", "1", "--timeout", f"{seconds}s", "--temp-path", "/tmp",
                "--oomable", "--quiet"]
        done = subprocess.run(line, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, timeout=1300)
        # 0 done, 2 a stressor failed, 3 none could be started, 4 not supported, 5 no result
        # (stress-ng(1)); 124 and 125 are kavach's own, 137 a kill by a limit.
        print(f"stress-ng {name} under {policy}: exit {done.returncode}", flush=True)
        for text in done.stdout.decode(errors="replace").splitlines()[:3]:
            print("    " + text)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--kavach", required=True)
    parser.add_argument("--work", required=True)
    parser.add_argument("--policy", action="append")
    parser.add_argument("--seconds", default=1, type=int)
    parser.add_argument("modules", nargs="*")
    given = parser.parse_args()
    policies = given.policy or ["basic", "strict"]
    modules = given.modules or SYSTEM
    if modules == ["all"]:
        here = "/usr/lib/python3.11/test"
        modules = sorted({name.split(".")[0] for name in os.listdir(here) if name.startswith("test_")})

    work = os.path.abspath(given.work)
    outside, silent = python(f"{work}/outside", modules, [])
    counts = lambda found: ", ".join(
        f"{sum(kind == k for kind, _ in found.values())} {k}" for k in ("ok", "skipped", "failed", "error"))
    print(f"outside: {len(modules)} modules, {len(outside)} tests: {counts(outside)}", flush=True)
    print(f"outside: without a report: {' '.join(silent) or 'none'}", flush=True)
    for policy in policies:
        at = f"{work}/{policy}"
        os.makedirs(at, exist_ok=True)
        jail = [given.kavach, "exec", "--quiet", "--policy", policy, "--write-through", at, "--cwd", at,
                "--env", f"HOME={at}", "--"]
        inside, silent = python(at, modules, jail)
        print(f"{policy}: {len(inside)} tests: {counts(inside)}", flush=True)
        print(f"{policy}: without a report: {' '.join(silent) or 'none'}", flush=True)
        differ = 0
        for test in sorted(outside.keys() | inside.keys()):
            was, now = (found.get(test, ("absent", "")) for found in (outside, inside))
            if was[0] != now[0]:
                differ += 1
                print(f"{policy}: {test}: {was[0]} -> {now[0]}: {now[1][:160]}")
        print(f"{policy}: {differ} of {len(outside.keys() | inside.keys())} differ", flush=True)
    for policy in policies:
        stress(given.kavach, policy, given.seconds)


if __name__ == "__main__":
    sys.exit(main())
