"""A stand-in for Windows, for the modules of ``encfs``: no more than that, and it runs on Linux.

Python loads this module when its folder is in ``PYTHONPATH``. From then on every module of ``encfs`` that imports
``os``, ``errno``, ``io``, ``signal`` or ``socket`` gets one that has only the names that typeshed has for Windows (in
the file that ``CLOAKFS_STAND_IN`` names), ``fcntl`` and its like are missing, and paths are those of Windows: ``Z:`` is
the root of this machine, a path of more than 259 characters fails unless it has the prefix for long ones, and a name
that Windows forbids fails in any case. Inode numbers are 0, as on disks that have none.
"""

import builtins
import errno
import io
import ntpath
import os
import re
import sys
import types

with open(os.environ["CLOAKFS_STAND_IN"], encoding="utf-8") as lines:
    NAMES = dict(line.split(" ", 1) for line in lines)
MISSING = {"fcntl", "resource", "pwd", "grp", "termios", "tty", "pty", "posix", "syslog", "readline"}
FORBIDDEN = re.compile('[<>:"|?*\0-\x1f]')
DEVICE = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])( *\..*)?", re.IGNORECASE)
LONG = "\\\\?\\"


def text(path):
    """A path as text."""
    path = os.fspath(path)
    return path.decode("utf-8", "surrogatepass") if isinstance(path, bytes) else path


def mapped(path):
    """The path of this machine; an error where Windows has one."""
    whole = text(path)
    extended = whole.startswith(LONG)
    if not extended:
        whole = ntpath.normpath(ntpath.join("Z:" + os.getcwd().replace("/", "\\"), whole))
        if len(whole) > 259:
            raise FileNotFoundError(errno.ENOENT, "too long for Windows", path)
    inner = whole.removeprefix(LONG)
    if inner[:2].upper() != "Z:" or "/" in inner:
        raise OSError(errno.EINVAL, "the stand-in has no such drive", path)
    for part in inner[2:].split("\\"):
        if FORBIDDEN.search(part) or part.endswith((" ", ".")) or DEVICE.fullmatch(part) or len(part) > 255:
            raise OSError(errno.EINVAL, "no name of Windows", path)
        part.encode()  # no half of a pair: the stand-in has a disk of Linux below
    return inner[2:].replace("\\", "/") or "/"


def stat_result(found):
    """What stat says, with nothing that a FAT disk on Windows does not have."""
    fields = (found.st_mode, 0, found.st_dev, found.st_nlink, 0, 0, found.st_size)
    exact = {name: getattr(found, name) for name in ("st_atime_ns", "st_mtime_ns", "st_ctime_ns")}
    return os.stat_result((*fields, found.st_atime, found.st_mtime, found.st_ctime), exact)


def on_paths(call, count=1):
    """A call of the system whose first arguments are paths of Windows."""

    def wrapped(*arguments, **more):
        if "dir_fd" in more or any(isinstance(one, int) for one in arguments[:count]):
            raise NotImplementedError("no descriptors of directories on Windows")
        paths = [mapped(one) for one in arguments[:count]]
        return call(*paths, *arguments[count:], **more)

    return wrapped


def no_rights(*_arguments, **_more):
    """What Windows says to most people who make a symlink."""
    raise OSError(errno.EPERM, "A required privilege is not held by the client")


def plain_open(path, flags, mode=0o777):
    """Windows opens no directories."""
    if os.path.isdir(mapped(path)):
        raise PermissionError(errno.EACCES, "Permission denied", path)
    return os.open(mapped(path), flags, mode)


def rename(source, to):
    """It never replaces anything on Windows."""
    if os.path.lexists(mapped(to)):
        raise FileExistsError(errno.EEXIST, "it exists already", source, None, to)
    os.rename(mapped(source), mapped(to))


def utime(path, times=None, *, ns, follow_symlinks=True):
    """It always follows on Windows."""
    if not follow_symlinks:
        raise NotImplementedError("utime: follow_symlinks unavailable on this platform")
    os.utime(mapped(path), ns=ns)


def only_of_windows(module):
    """A copy of a module with the names that it has on Windows."""
    made = types.ModuleType(module.__name__)
    allowed = set(NAMES[module.__name__].split())
    for name, value in vars(module).items():
        if name in allowed:
            setattr(made, name, value)
    return made


def fake_os():
    """The module ``os``."""
    made = only_of_windows(os)
    made.name, made.sep, made.altsep, made.pathsep, made.linesep = "nt", "\\", "/", ";", "\r\n"
    made.supports_follow_symlinks = made.supports_dir_fd = made.supports_fd = frozenset()
    made.fsencode = lambda path: path if isinstance(path, bytes) else path.encode("utf-8", "surrogatepass")
    made.fsdecode = text
    made.getcwd = lambda: "Z:" + os.getcwd().replace("/", "\\")
    made.stat = lambda path: stat_result(os.stat(mapped(path)))
    made.lstat = lambda path: stat_result(os.lstat(mapped(path)))
    made.fstat = lambda fd: stat_result(os.fstat(fd))
    made.open, made.rename, made.utime, made.symlink = plain_open, rename, utime, no_rights
    for name in ("listdir", "mkdir", "makedirs", "unlink", "remove", "rmdir", "chmod", "readlink", "truncate"):
        setattr(made, name, on_paths(getattr(os, name)))
    made.replace, made.link = on_paths(os.replace, 2), on_paths(os.link, 2)
    made.path = types.ModuleType("ntpath")
    vars(made.path).update({name: value for name, value in vars(ntpath).items() if not name.startswith("__")})
    for name in ("exists", "lexists", "isdir", "isfile", "islink"):
        setattr(made.path, name, on_paths(getattr(os.path, name)))
    made.path.abspath = lambda path: ntpath.normpath(ntpath.join(made.getcwd(), text(path)))
    made.path.realpath = made.path.abspath
    return made


def fake_io():
    """The module ``io``."""
    made = types.ModuleType("io")
    vars(made).update({name: value for name, value in vars(io).items() if not name.startswith("__")})

    class FileIO(io.FileIO):
        def __init__(self, path, mode="r", opener=None):
            super().__init__(mapped(path), mode, opener=opener and (lambda _, flags: opener(path, flags)))

    made.FileIO = FileIO
    return made


def install():
    """Give the modules to ``encfs``."""
    import signal
    import socket

    fakes = {"os": fake_os(), "io": fake_io()}
    fakes |= {module.__name__: only_of_windows(module) for module in (errno, signal, socket)}
    plain_import, builtin_open = builtins.__import__, builtins.open

    def importing(name, namespace=None, local=None, fromlist=(), level=0):
        ours = bool(namespace) and str(namespace.get("__name__", "")).startswith("encfs.")
        if ours and name in MISSING:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        if ours and name == "os" and fromlist and "path" in fromlist:
            return fakes["os"]
        return fakes[name] if ours and name in fakes else plain_import(name, namespace, local, fromlist, level)

    def opening(path, *arguments, **more):
        windows = isinstance(path, str) and path.removeprefix(LONG)[:2] == "Z:"
        return builtin_open(mapped(path) if windows else path, *arguments, **more)

    builtins.__import__, builtins.open = importing, opening
    sys.stand_in_for_windows = True


install()
