#!/usr/bin/env python3
"""Writes an initramfs (cpio, "newc") from this machine's own files.

    image.py OUTPUT [--package NAME]... [--drop REGEX]... [--tree DIRECTORY]
             [--file HOST=GUEST]...

--package NAME      the files of an installed Debian package and of everything
                    it depends on, as dpkg knows them
--drop REGEX        leaves out paths that match
--tree DIRECTORY    everything below it, put at the root, readable by everyone
--file HOST=GUEST   one file, at that path

Everything belongs to root inside. What this user may not read is left out.
The format is the kernel's Documentation/driver-api/early-userspace/buffer-format.rst.
"""

import argparse
import os
import re
import stat
import subprocess
import sys

DIRECTORIES = {"dev": 0o755, "home": 0o755, "proc": 0o555, "root": 0o700, "run": 0o755,
               "sys": 0o555, "tmp": 0o1777, "var/tmp": 0o1777}


def closure(wanted):
    """The installed packages among `wanted` and their dependencies."""
    show = ["dpkg-query", "-W", "-f",
            "${Package}\t${db:Status-Status}\t${Provides}\t${Pre-Depends},${Depends}\n"]
    depends, provided = {}, {}
    for line in subprocess.run(show, check=True, text=True, stdout=subprocess.PIPE).stdout.splitlines():
        name, status, provides, needs = line.split("\t")
        if status != "installed":
            continue
        depends[name] = re.findall(r"[a-z0-9][a-z0-9.+-]+(?=\s*[(:,|]|\s*$)", needs)
        for other in re.findall(r"[a-z0-9][a-z0-9.+-]+(?=\s*[(:,]|\s*$)", provides):
            provided.setdefault(other, name)
    missing = [name for name in wanted if name not in depends]
    if missing:
        sys.exit(f"image: not installed: {' '.join(missing)}")
    found, open_ = set(), list(wanted)
    while open_:
        name = open_.pop()
        name = name if name in depends else provided.get(name)
        if name and name not in found:
            found.add(name)
            open_.extend(depends[name])
    return sorted(found)


def files_of(packages):
    """Paths of packages, with their directories' links resolved (/bin is /usr/bin)."""
    listed = subprocess.run(["dpkg-query", "-L", *packages], check=True, text=True,
                            stdout=subprocess.PIPE).stdout
    seen = {}
    for path in set(listed.splitlines()):
        if not path.startswith("/") or path == "/.":
            continue
        parent, name = os.path.split(path)
        if parent not in seen:
            seen[parent] = os.path.realpath(parent)
        yield os.path.join(seen[parent], name)


class Image:
    def __init__(self, output):
        self.output = output
        self.written = set()
        self.inode = 0

    def entry(self, path, mode, data=b"", device=(0, 0)):
        self.inode += 1
        name = path.encode() + b"\0"
        head = "070701" + "".join(f"{n:08x}" for n in (
            self.inode, mode, 0, 0, 1, 0, len(data), 0, 0, *device, len(name), 0))
        self.pad(head.encode() + name)
        self.pad(data)

    def pad(self, data):
        self.output.write(data + b"\0" * (-len(data) % 4))

    def directory(self, path, mode=0o755):
        if path and path not in self.written:
            self.directory(os.path.dirname(path))
            self.written.add(path)
            self.entry(path, stat.S_IFDIR | mode)

    def add(self, source, target, public=False):
        """One file, link or directory of this machine."""
        target = target.strip("/")
        if not target or target in self.written:
            return
        try:
            status = os.lstat(source)
        except FileNotFoundError:
            return
        mode = status.st_mode
        if stat.S_ISDIR(mode):
            self.directory(target, stat.S_IMODE(mode))
            return
        if stat.S_ISLNK(mode):
            data = os.readlink(source).encode()
        elif stat.S_ISREG(mode):
            try:
                with open(source, "rb") as file:
                    data = file.read()
            except PermissionError:
                return
        else:
            return
        if public:
            # Whatever mask the checkout was made with.
            mode = stat.S_IFREG | (0o755 if mode & stat.S_IXUSR else 0o644)
        self.directory(os.path.dirname(target))
        self.written.add(target)
        self.entry(target, mode, data)


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("output")
    arguments.add_argument("--package", action="append", default=[])
    arguments.add_argument("--drop", action="append", default=[])
    arguments.add_argument("--tree", action="append", default=[])
    arguments.add_argument("--file", action="append", default=[])
    options = arguments.parse_args()

    drop = re.compile("|".join(options.drop) or r"(?!)")
    partial = options.output + ".partial"
    with open(partial, "wb") as output:
        image = Image(output)
        for path, mode in DIRECTORIES.items():
            image.directory(path, mode)
        # Without a console the kernel's first process has no standard streams.
        image.entry("dev/console", stat.S_IFCHR | 0o600, device=(5, 1))
        # First come first served: what is named stands before what a package brings.
        for pair in options.file:
            source, target = pair.split("=", 1)
            image.add(source, target)
        for tree in options.tree:
            for directory, _, names in os.walk(tree):
                for name in names:
                    source = os.path.join(directory, name)
                    image.add(source, os.path.relpath(source, tree), public=True)
        # The links of a merged /usr belong to no package.
        for path in ["/bin", "/sbin", "/lib", "/lib64"]:
            if os.path.islink(path):
                image.add(path, path)
        for path in sorted(files_of(closure(options.package))) if options.package else []:
            if not drop.search(path):
                image.add(path, path)
        # Nor do the links that pick an alternative: `cc`, `awk`.
        for name in os.listdir("/etc/alternatives") if os.path.isdir("/etc/alternatives") else []:
            image.add(f"/etc/alternatives/{name}", f"etc/alternatives/{name}")
            if os.path.islink(f"/usr/bin/{name}"):
                image.add(f"/usr/bin/{name}", f"usr/bin/{name}")
        image.entry("TRAILER!!!", 0)
    os.rename(partial, options.output)


if __name__ == "__main__":
    main()
