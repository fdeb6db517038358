"""What a program has asked of the disk."""

import os


def synced(monkeypatch):
    """A list that gets what is synced and renamed from now on: (sync or rename, name of the file or folder)."""
    events = []
    fsync, rename, replace = os.fsync, os.rename, os.replace

    def note(kind, path):
        events.append((kind, os.path.basename(os.fspath(path))))

    def noted_fsync(handle):
        note("sync", os.readlink(f"/proc/self/fd/{handle}"))
        fsync(handle)

    def noted(function):
        def call(source, target, **options):
            note("rename", target)
            function(source, target, **options)

        return call

    monkeypatch.setattr(os, "fsync", noted_fsync)
    monkeypatch.setattr(os, "rename", noted(rename))
    monkeypatch.setattr(os, "replace", noted(replace))
    return events
