"""`upysh`: the commands of a shell as objects of the prompt."""

import os
import sys


class _Command:
    """Runs when it is shown or called."""

    def __init__(self, run):
        self._run = run

    def __repr__(self):
        self._run()
        return ""

    def __call__(self, *args):
        return self._run(*args)


def _ls(path="."):
    for name, kind, _, *size in sorted(os.ilistdir(path)):
        if kind == 0x4000:
            print("   <dir> " + name + "/")
        else:
            print("%8d %s" % (size[0] if size else os.stat(path + "/" + name)[6], name))


def _pwd():
    print(os.getcwd())


def _clear():
    print("\x1b[2J\x1b[H", end="")


def _man():
    print("ls, ls(path), pwd, cd(path), cat(path), head(path[, lines]), cp(from, to)")
    print("mv(from, to), rm(path[, recursive]), mkdir(path), rmdir(path), newfile(path), clear")


ls = _Command(_ls)
pwd = _Command(_pwd)
clear = _Command(_clear)
man = _Command(_man)
cd = os.chdir
mkdir = os.mkdir
rmdir = os.rmdir
mv = os.rename


def head(path, lines=10):
    with open(path) as file:
        for _ in range(lines):
            line = file.readline()
            if not line:
                break
            sys.stdout.write(line)


def cat(path):
    head(path, 1 << 30)


def cp(source, target):
    try:
        if os.stat(target)[0] & 0x4000:
            target = target.rstrip("/") + "/" + source.split("/")[-1]
    except OSError:
        pass
    block = bytearray(512)
    with open(source, "rb") as old, open(target, "wb") as new:
        while True:
            size = old.readinto(block)
            if not size:
                break
            new.write(block[:size])


def rm(path, recursive=False):
    if recursive and os.stat(path)[0] & 0x4000:
        for entry in os.ilistdir(path):
            rm(path.rstrip("/") + "/" + entry[0], True)
        os.rmdir(path)
    else:
        os.remove(path)


def newfile(path):
    print("Type the lines of the file, then Ctrl-D on an empty one")
    with open(path, "w") as file:
        while True:
            try:
                line = input()
            except EOFError:
                break
            file.write(line + "\n")
