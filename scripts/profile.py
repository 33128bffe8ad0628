#!/usr/bin/env python3
"""Where the time of a sandbox's life goes: reads `perf script` of the tracepoints that
scripts/profile.sh records, and prints medians over all lives as Markdown tables.

A life begins and ends with a getppid(2) of the program `kavach-bench lives`, which calls it for
nothing else: before create, before exec, before destroy, and at the end.
"""

import collections
import re
import statistics
import sys

LINE = re.compile(
    r"^\s*(?P<comm>.+?)\s+(?P<tid>\d+)\s+(?P<sec>\d+)\.(?P<ns>\d{9}):\s+"
    r"(?P<event>\S+?):\s+(?P<rest>.*)$"
)
MARK = "getppid"


def syscall_names():
    names = {}
    with open("/usr/include/x86_64-linux-gnu/asm/unistd_64.h", encoding="utf-8") as header:
        for line in header:
            found = re.match(r"#define __NR_(\w+) (\d+)", line)
            if found:
                names[int(found[2])] = found[1]
    return names


def read(lines):
    """Events as (time in µs, tid, kind, detail), in order of time."""
    names = syscall_names()
    events = []
    for line in lines:
        found = LINE.match(line)
        if not found:
            continue
        time = int(found["sec"]) * 1e6 + int(found["ns"]) / 1e3
        tid, event, rest = int(found["tid"]), found["event"], found["rest"]
        if event == "raw_syscalls:sys_enter":
            events.append((time, tid, "enter", names.get(int(rest.split()[1]), rest)))
        elif event == "raw_syscalls:sys_exit":
            number, result = re.match(r"NR (-?\d+) = (-?\d+)", rest).groups()
            events.append((time, tid, "exit", names.get(int(number), number)))
        elif event == "sched:sched_process_fork":
            events.append((time, tid, "fork", int(re.search(r"child_pid=(\d+)", rest)[1])))
        elif event == "sched:sched_process_exec":
            events.append((time, tid, "exec", ""))
        elif event == "sched:sched_process_exit":
            events.append((time, tid, "gone", ""))
        elif event == "sched:sched_wakeup":
            found = re.search(r"pid=(\d+)", rest) or re.search(r":(\d+) \[", rest)
            events.append((time, tid, "wake", int(found[1])))
        elif event == "sched:sched_switch":
            found = re.search(r"prev_pid=(\d+).*next_pid=(\d+)", rest)
            if not found:
                found = re.search(r":(\d+) \[.*==> .*?:(\d+) \[", rest)
            events.append((time, int(found[1]), "switch", int(found[2])))
    events.sort(key=lambda event: event[0])
    return events


def lives(events):
    """The events of each life, and the times of its four marks."""
    main = next(tid for _, tid, kind, what in events if kind == "enter" and what == MARK)
    marks = [t for t, tid, kind, what in events if tid == main and kind == "enter" and what == MARK]
    # The runtime may call it once before the first life: a life ends right before the next begins.
    gap = lambda first: statistics.median(
        marks[at + 4] - marks[at + 3] for at in range(first, len(marks) - 4, 4)
    )
    found = []
    at = 0
    for start in range(min(range(4), key=gap), len(marks) - 3, 4):
        four = marks[start : start + 4]
        inside = []
        while at < len(events) and events[at][0] < four[0]:
            at += 1
        while at < len(events) and events[at][0] <= four[3]:
            inside.append(events[at])
            at += 1
        found.append((four, inside))
    # The first ones start threads and fill caches.
    return main, found[10:]


def roles(main, inside):
    """Who is who: the agent is forked by the supervisor, its second stage by the agent, then the
    rehearsal and the guest by that."""
    forks = [(t, tid, child) for t, tid, kind, child in inside if kind == "fork"]
    execs = {tid for _, tid, kind, _ in inside if kind == "exec"}
    who = {main: "caller"}
    for _, parent, child in forks:
        if parent in who and who[parent] == "stage one":
            who[child] = "PID 1"
        elif parent in who and who[parent] == "PID 1":
            who[child] = "guest" if "rehearsal" in who.values() else "rehearsal"
        elif child in execs and "stage one" not in who.values():
            who[child] = "stage one"
            who[parent] = "supervisor"
    for _, parent, child in forks:
        if child not in who and who.get(parent) in ("supervisor", "caller"):
            who[child] = "supervisor's helper"
    return who


def at_work(inside, who, start, end):
    """How long between two times at least one process of the life was on a CPU: what is left of
    the wall time when the machine was busy with something else, and when all of them waited."""
    running = {}
    spans = []
    for time, tid, kind, what in inside:
        if kind != "switch":
            if tid in who:
                running.setdefault(tid, time)
            continue
        if tid in running:
            spans.append((running.pop(tid), time))
        if what in who:
            running[what] = time
    spans += [(since, end) for since in running.values()]
    spans.sort()
    busy, reached = 0.0, start
    for since, until in spans:
        since, until = max(since, reached), min(until, end)
        if until > since:
            busy += until - since
            reached = until
    return busy


def first(inside, who, role, kind, what=None, after=0.0, last=False):
    """The time of an event, or None."""
    hits = (
        t
        for t, tid, k, w in inside
        if k == kind and who.get(tid) == role and t >= after and what in (None, w)
    )
    if last:
        return max(hits, default=None)
    return next(hits, None)


def milestones(marks, inside, who):
    """(name, time) in order; each names the step that ends there."""
    created, executed, ended, end = marks
    at = created
    found = []

    def step(name, role, kind, what=None, last=False):
        nonlocal at
        time = first(inside, who, role, kind, what, at, last)
        if time is not None:
            found.append((name, time))
            at = time

    step("create: check, plan, hand over, id range, encode", "supervisor", "fork")
    step("create: vfork and exec of the agent", "stage one", "exec")
    step("create: stage one reads its frames, opens sources, joins groups", "stage one", "enter", "clone")
    step("create: clone into the namespaces", "stage one", "exit", "clone")
    step("create: id maps, identity, namespace limits, view, pivot_root", "PID 1", "exit", "pivot_root")
    step("create: rest of the view, Landlock, privileges", "PID 1", "exit", "landlock_restrict_self")
    step("create: filter", "PID 1", "exit", "seccomp")
    step("create: fork of the rehearsal, its restrictions", "rehearsal", "enter", "write")
    step("create: wake the supervisor, read the evidence, release", "supervisor", "exit", "sendmsg")
    found.append(("create: score, hand back to the caller", executed))
    at = executed
    step("exec: hand over, pipes, leaf group, frame", "supervisor", "exit", "sendmsg")
    step("exec: wake the agent, fork", "PID 1", "fork")
    step("exec: join groups, descriptors, limits", "guest", "enter", "execve")
    step("exec: execve", "guest", "exec")
    step("exec: the program", "guest", "gone")
    step("exec: end of the program, reap, tell the supervisor", "PID 1", "exit", "sendto")
    found.append(("exec: result, hand back to the caller", ended))
    at = ended
    step("destroy: hand over, kill", "supervisor", "exit", "pidfd_send_signal")
    step("destroy: the kernel ends the namespaces", "supervisor", "exit", "waitid")
    found.append(("destroy: remove groups, hand back", end))
    return found


def main():
    caller, all_lives = lives(read(sys.stdin))
    steps = collections.OrderedDict()
    wholes = []
    working = []
    wakes = collections.Counter()
    switches = []
    calls = collections.defaultdict(list)
    for marks, inside in all_lives:
        who = roles(caller, inside)
        before = marks[0]
        for name, time in milestones(marks, inside, who):
            steps.setdefault(name, []).append((time - before, at_work(inside, who, before, time)))
            before = time
        working.append(at_work(inside, who, marks[0], marks[3]))
        wholes.append(marks[3] - marks[0])
        count = 0
        open_calls = {}
        spent = collections.Counter()
        number = collections.Counter()
        for time, tid, kind, what in inside:
            role = who.get(tid)
            if role is None:
                continue
            if kind == "wake" and who.get(what) not in (None, role):
                wakes[(role, who[what])] += 1
            elif kind == "switch":
                count += 1
            elif kind == "enter":
                open_calls[tid] = (what, time)
            elif kind == "exit" and tid in open_calls and open_calls[tid][0] == what:
                spent[(role, what)] += time - open_calls.pop(tid)[1]
                number[(role, what)] += 1
        switches.append(count)
        for key, took in spent.items():
            calls[key].append((took, number[key]))
    lives_seen = len(all_lives)
    whole = statistics.median(wholes)
    busy = statistics.median(working)
    print(
        f"Medians over {lives_seen} lives, under the tracer: {whole:.0f} µs in all, and for "
        f"{busy:.0f} µs of them a process of the life was on a CPU.\n"
    )
    print("| step | µs | of them at work | share of the work |\n|---|---:|---:|---:|")
    for name, times in steps.items():
        wall = statistics.median(wall for wall, _ in times)
        work = statistics.median(work for _, work in times)
        print(f"| {name} | {wall:.0f} | {work:.0f} | {100 * work / busy:.0f} % |")
    print(f"\nSwitches of context per life: {statistics.median(switches):.0f}. ", end="")
    print(f"Wake-ups of one by another: {sum(wakes.values()) / lives_seen:.1f}.\n")
    print("| who | wakes | per life |\n|---|---|---:|")
    for (waker, woken), total in wakes.most_common():
        if total * 2 >= lives_seen:
            print(f"| {waker} | {woken} | {total / lives_seen:.1f} |")
    print("\n| system calls that take longest, waiting apart | by | times | µs in all |\n|---|---|---:|---:|")
    waiting = {"epoll_wait", "futex", "ppoll", "poll", "wait4", "waitid", "pause"}
    rows = []
    for (role, what), seen in calls.items():
        if what in waiting or len(seen) * 2 < lives_seen:
            continue
        rows.append(
            (statistics.median(t for t, _ in seen), what, role, statistics.median(n for _, n in seen))
        )
    for took, what, role, number in sorted(rows, reverse=True)[:28]:
        print(f"| {what} | {role} | {number:.0f} | {took:.0f} |")


main()
